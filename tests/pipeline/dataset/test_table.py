"""The record of the patch table, and what is said and stored of it elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa

from pipeline.dataset.table import COLUMN_RECORDS, COLUMNS, SCHEMA
from registration.patch_reasons import REASON_WORDS

GUIDE = Path(__file__).parents[3] / "docs" / "dataset.md"


def columns_in_markdown() -> str:
    """Return the table of ``docs/dataset.md``."""
    lines = ["| column | type | meaning |", "|---|---|---|"]
    for column in COLUMN_RECORDS:
        kind = f"{column.field.type}{', null' if column.field.nullable else ''}"
        lines.append(f"| `{column.field.name}` | {kind} | {column.meaning} |")
    return "\n".join(lines) + "\n"


def test_the_guide_has_the_columns_and_reasons_of_the_record() -> None:
    text = GUIDE.read_text(encoding="utf-8")

    assert columns_in_markdown() in text, f"paste this:\n{columns_in_markdown()}"
    documented = re.search(r"\| `reason` \|.*?first of (.*?) that holds", text)
    assert documented is not None
    assert re.findall(r"`(.*?)` \((.*?)\)", documented[1]) == list(REASON_WORDS.items())


def test_types_are_those_that_readers_of_older_datasets_know() -> None:
    assert SCHEMA.field("size").type == pa.int32()
    assert SCHEMA.field("x").type == pa.int64()
    assert SCHEMA.field("her2") == pa.field("her2", pa.string(), nullable=True)
    assert SCHEMA.field("split") == pa.field("split", pa.string(), nullable=False)
    assert SCHEMA.field("kept").type == pa.bool_()
    assert SCHEMA.field("he_tissue") == pa.field("he_tissue", pa.float64())
    assert tuple(SCHEMA.names) == COLUMNS
