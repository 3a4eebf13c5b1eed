"""A dataset's folder: what of it is ours, and how another dataset takes its place.

A dataset is put together in a hidden folder inside and moved into its place when it is whole. What
it replaces is only what the older dataset's own checksums list; a person's files stay, and so do
the notes on the data card.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.dataset.checksums import (
    CARD_NAME,
    SUMS_NAME,
    is_notes,
    is_within,
    listed,
    visible_files,
)
from pipeline.dataset.plan import RECORD_NAME, DatasetPlan
from pipeline.errors import UsageError
from registration.files.storage import write_text
from registration.files.text import json_record

NEW, OURS = ".new", ".ours"
"""What is put together, and the names of all files that a killed run may have left of a dataset."""

NAMED_AT_MOST = 5


def finished_dataset_key(folder: Path) -> str | None:
    """Return the key of the complete dataset in ``folder``, ``None`` where there is none."""
    key = read_record(folder).get("key") if (folder / SUMS_NAME).is_file() else None
    return None if key is None else str(key)


def check_ours(folder: Path) -> None:
    """Raise :class:`UsageError` where ``folder`` holds anything but a dataset of ours and notes."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the dataset")
    present = [name for name in visible_files(folder) if not is_notes(name)]
    ours = _ours(folder)
    if present and not ours:
        raise UsageError(f"{folder} holds files of something else; name another folder")
    foreign = [name for name in present if name not in ours]
    if foreign:
        more = f" and {len(foreign) - NAMED_AT_MOST} more" if foreign[NAMED_AT_MOST:] else ""
        raise UsageError(
            f"{folder} holds files that are no part of its dataset: "
            f"{', '.join(foreign[:NAMED_AT_MOST])}{more}. Move them away, or name another folder."
        )


def check_replaceable(plan: DatasetPlan, folder: Path, overwrite: bool) -> None:
    """Raise :class:`UsageError` where another dataset is there and nobody asked to replace it."""
    check_ours(folder)
    if overwrite or not (folder / RECORD_NAME).exists():
        return
    key = read_record(folder).get("key")
    begun = key is None and (folder / OURS).is_file()
    if key != plan.key and not begun:
        raise UsageError(
            f"{folder} holds a dataset made with {_difference(read_record(folder), plan)}. Add "
            "--overwrite to replace it (notes on its data card are kept), or name another folder."
        )


@contextmanager
def replaced_whole(folder: Path) -> Iterator[Path]:
    """Give an empty folder to put a dataset together in; it takes its place when the block ends."""
    check_ours(folder)
    ours, new = _ours(folder), folder / NEW
    write_text(folder / OURS, "\n".join(sorted(ours)))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    yield new
    last = (RECORD_NAME, SUMS_NAME)
    names = [name for name in visible_files(new) if name not in last]
    # A kill from here on leaves both datasets in part: their files stay known as ours.
    write_text(folder / OURS, "\n".join(sorted({*ours, *names, *last})))
    for name in (SUMS_NAME, *ours):
        (folder / name).unlink(missing_ok=True)
    for name in (*names, *last):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (new / name).replace(folder / name)
    tidy(folder)


def tidy(folder: Path) -> None:
    """Remove from a complete dataset what a process that was killed at the very end left in it."""
    shutil.rmtree(folder / NEW, ignore_errors=True)
    _prune(folder)
    (folder / OURS).unlink(missing_ok=True)


def read_record(folder: Path) -> dict[str, Any]:
    """Return ``dataset.json``, empty where it is missing or damaged."""
    return json_record(folder / RECORD_NAME)


def _ours(folder: Path) -> set[str]:
    """Return the files that the datasets in ``folder`` consist of: whole, or about to be."""
    begun = folder / OURS
    noted = begun.read_text("utf-8", "replace").splitlines() if begun.is_file() else []
    names = {*listed(folder), *(name for name in noted if is_within(name))}
    if names or (folder / RECORD_NAME).is_file():
        names |= {RECORD_NAME, SUMS_NAME, CARD_NAME}
    return names


def _difference(record: dict[str, Any], plan: DatasetPlan) -> str:
    """Say in what a dataset differs from a plan."""
    wanted = plan.settings.as_dict()
    found = record.get("settings")
    changed = [
        f"{name} {found[name]} instead of {value}"
        for name, value in wanted.items()
        if isinstance(found, dict) and name in found and found[name] != value
    ]
    return ", ".join(changed) if changed else "other runs, labels or splits"


def _prune(folder: Path) -> None:
    """Remove the folders that the older dataset left empty."""
    below = [path for path in folder.rglob("*") if path.is_dir()]
    for path in sorted(below, key=lambda path: -len(path.parts)):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and not any(path.iterdir()):
            path.rmdir()
