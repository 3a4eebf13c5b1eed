"""Patch pairs, networks, losses, the training loop and metrics. Knows no slide and no itk."""
