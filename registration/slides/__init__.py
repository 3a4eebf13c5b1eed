"""Slides of every format, read and written."""
