"""Landmark picking and review in napari: thin Qt over :mod:`registration`."""
