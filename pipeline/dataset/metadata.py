"""The tables with which ``datasets.load_dataset`` pairs the images without further code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from pipeline.dataset.table import SCHEMA, PatchRow, write_parquet
from pipeline.patches.settings import Layout
from pipeline.split import SPLITS

METADATA_NAME = "metadata.parquet"
NAME_FIELDS = [
    pa.field("he_file_name", pa.string(), nullable=False),
    pa.field("ihc_file_name", pa.string(), nullable=False),
]


def write_metadata(folder: Path, layout: Layout, rows: Sequence[PatchRow]) -> None:
    """Write ``<split>/metadata.parquet`` for the layout ``hf``; other layouts need none."""
    if layout != "hf":
        return
    schema = pa.schema([*NAME_FIELDS, *SCHEMA])
    for split in SPLITS:
        records = [
            {
                "he_file_name": _inside(row.he_file, split),
                "ihc_file_name": _inside(row.ihc_file, split),
                **asdict(row),
            }
            for row in rows
            if row.kept and row.split == split
        ]
        if records:
            write_parquet(folder / split / METADATA_NAME, records, schema)


def _inside(file: str | None, split: str) -> str:
    """Return a path relative to its split's folder."""
    assert file is not None
    return file.removeprefix(f"{split}/")
