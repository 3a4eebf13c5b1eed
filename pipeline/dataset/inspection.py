"""Checks of a dataset of our own: complete, unchanged, without leaks."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.dataset.checksums import verify
from pipeline.dataset.plan import RECORD_NAME
from pipeline.dataset.table import read_table
from pipeline.errors import DatasetError
from pipeline.split import check_leakage
from registration.files.words import counted

NAMED_AT_MOST = 5


def is_ours(folder: Path) -> bool:
    """Return whether a folder was written by `patch` or `run`."""
    return (folder / RECORD_NAME).is_file()


def inspect_dataset(folder: Path) -> dict[str, Any]:
    """Return what a dataset holds and, under ``problems``, what is wrong with it.

    Raises :class:`DatasetError` where it is incomplete.
    """
    verification = verify(folder)
    rows = read_table(folder)
    kept = [row for row in rows if row.kept]
    problems = [
        f"{counted(len(names), 'file')} {what}: {', '.join(names[:NAMED_AT_MOST])}"
        for what, names in (
            ("missing", verification.missing),
            ("changed", verification.changed),
            ("not listed in the checksums", verification.unlisted),
        )
        if names
    ]
    try:
        check_leakage([asdict(row) for row in rows])
    except DatasetError as error:
        problems.append(str(error))
    return {
        "source": str(folder),
        "pairs": len(kept),
        "splits": dict(Counter(row.split for row in kept)),
        "her2": dict(sorted(Counter(row.her2 or "unknown" for row in kept).items())),
        "patients": dict(Counter(split for split, _ in {(row.split, row.patient) for row in kept})),
        "rejected": dict(Counter(row.reason for row in rows if row.reason)),
        "files checked": verification.checked,
        "problems": problems,
    }
