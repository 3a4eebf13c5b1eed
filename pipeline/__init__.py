"""Manifest, stages, patches, reports and the command line; composes registration and training."""
