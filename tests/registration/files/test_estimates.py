"""What asks for more memory than there is, is refused with the figure before it is read."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile

from registration.errors import LandmarkError, SlideError
from registration.files.images import read_image
from registration.files.tables import read_table
from registration.files.text import read_text
from registration.slides.slide import open_slide

FIGURE = r"takes [\d.]+ GiB of memory, and there are [\d.]+ GiB in all"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 16 GiB, whatever the tests run on: a large one would read all this."""
    memory = psutil.virtual_memory()._replace(total=2**34, available=2**33)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


def sparse(path: Path, size: int = 2**42) -> Path:
    with path.open("wb") as file:
        file.write(b"id,x,y\n")
        os.truncate(file.fileno(), size)
    return path


def test_a_text_of_terabytes(tmp_path: Path) -> None:
    with pytest.raises(LandmarkError, match=rf"^.*marks\.csv: reading it {FIGURE}"):
        read_text(sparse(tmp_path / "marks.csv"), LandmarkError)


def test_a_parquet_table_whose_few_bytes_stand_for_billions_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "patches.parquet"
    part = pa.table({"x": pa.nulls(2**20, pa.int8())})
    with pq.ParquetWriter(path, part.schema, compression="zstd") as writer:
        for _ in range(400):
            writer.write_table(part)
    assert path.stat().st_size < 10**6

    with pytest.raises(LandmarkError, match=rf"patches\.parquet: reading it {FIGURE}"):
        read_table(path, LandmarkError)


@pytest.mark.parametrize("read", [read_image, open_slide])
def test_a_tiff_that_lists_billions_of_tiles(tmp_path: Path, read: object) -> None:
    path = tmp_path / "tiles.tif"
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), bigtiff=True, tile=(16, 16))
    content = bytearray(path.read_bytes())
    (directory,) = struct.unpack_from("<Q", content, 8)
    (count,) = struct.unpack_from("<Q", content, directory)
    for entry in range(directory + 8, directory + 8 + 20 * count, 20):
        if struct.unpack_from("<H", content, entry)[0] in (324, 325):
            struct.pack_into("<HQQ", content, entry + 2, 16, 2**33, 2**12)
    path.write_bytes(content)
    os.truncate(path, 2**37)

    with pytest.raises(SlideError, match=rf"tiles\.tif: reading it {FIGURE}"):
        read(path)  # type: ignore[operator]


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_an_image_of_more_pixels_than_fit(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"patch.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, shape=(2**21, 2**20, 3), dtype=np.uint8, photometric="rgb")
    else:
        head = struct.pack(">IIBBBBB", 2**20, 2**20, 8, 2, 0, 0, 0)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + bytes(4))

    with pytest.raises(SlideError, match=r"GiB|damaged"):
        read_image(path)
