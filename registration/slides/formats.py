"""Formats that a slide can be written in."""

from typing import Literal

ImageFormat = Literal["tiff", "ome-tiff", "ome-zarr"]
SUFFIXES: dict[ImageFormat, str] = {"tiff": ".tif", "ome-tiff": ".ome.tif", "ome-zarr": ".ome.zarr"}
