"""OME-NGFF 0.4: the layout of an OME-Zarr image (https://ngff.openmicroscopy.org/0.4/).

Version 0.4 on Zarr format 2 is what napari and QuPath read today. Axes are ``c, y, x``; one chunk
holds the three channels of one tile, losslessly compressed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zarr
from numcodecs import Blosc

from registration.geometry import Image, Size

CHANNELS = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
COMPRESSION_LEVEL = 3


def create_store(path: Path, name: str, sizes: Sequence[Size], mpp: float, tile: int) -> None:
    """Create the empty arrays of all levels and the metadata; white where no chunk is written."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    datasets = []
    for number, size in enumerate(sizes):
        group.create_array(
            str(number),
            shape=(3, *size.shape),
            chunks=(3, tile, tile),
            dtype="uint8",
            compressors=_compressor(),
            fill_value=255,
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )
        datasets.append({"path": str(number), "coordinateTransformations": _place(2**number, mpp)})
    space = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "name": name,
            "axes": [{"name": "c", "type": "channel"}, *space],
            "datasets": datasets,
            "type": "local mean",
        }
    ]
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    group.attrs["omero"] = {
        "channels": [
            {"label": label, "color": color, "active": True, "window": window}
            for label, color in CHANNELS
        ],
        "rdefs": {"model": "color"},
    }


def compress(pixels: Image) -> bytes:
    """Encode a ``(tile, tile, 3)`` tile as one chunk."""
    return bytes(_compressor().encode(np.ascontiguousarray(pixels.transpose(2, 0, 1))))


def write_chunk(path: Path, level: int, place: tuple[int, int], chunk: bytes) -> None:
    """Write the chunk of the tile at ``(row, column)``."""
    file = path / str(level) / "0" / str(place[0]) / str(place[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(chunk)


def _compressor() -> Blosc:
    """Return the codec of all chunks."""
    return Blosc(cname="zstd", clevel=COMPRESSION_LEVEL, shuffle=Blosc.BITSHUFFLE)


def _place(downsample: int, mpp: float) -> list[dict[str, object]]:
    """Return the transforms from pixel indices of a level to micrometres.

    Averaging puts the centre of a level's first pixel at half a level pixel less half a level-0
    pixel; leaving that out would shift the levels against each other.
    """
    shift = (downsample - 1) / 2 * mpp
    scale: dict[str, object] = {"type": "scale", "scale": [1.0, downsample * mpp, downsample * mpp]}
    if shift == 0:
        return [scale]
    return [scale, {"type": "translation", "translation": [0.0, shift, shift]}]
