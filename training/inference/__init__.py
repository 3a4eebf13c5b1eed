"""A trained generator on images of any size."""
