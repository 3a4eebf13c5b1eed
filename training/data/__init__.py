"""Patch pairs: found, decoded once, served in batches."""
