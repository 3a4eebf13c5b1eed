"""Formats that a slide can be written in."""

from typing import Literal

ImageFormat = Literal["tiff", "ome-tiff", "ome-zarr"]
SUFFIXES: dict[ImageFormat, str] = {"tiff": ".tif", "ome-tiff": ".ome.tif", "ome-zarr": ".ome.zarr"}
TIFF_ENDINGS = (".tif", ".tiff", ".btf", ".tf8")
NAMED: dict[ImageFormat, tuple[str, ...]] = {
    "tiff": TIFF_ENDINGS,
    "ome-tiff": TIFF_ENDINGS,
    "ome-zarr": (".zarr",),
}
"""The endings that a name of each format may have."""
