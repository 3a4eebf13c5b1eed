"""A registration as transforms that other programs read: ITK, OME-Zarr, QuPath."""
