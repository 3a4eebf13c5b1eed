"""What is known of cases besides their slides, for `patch`: a CSV of patients, levels and splits."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.split import SPLITS, Split
from registration.files.her2 import Her2, parse_her2

COLUMNS = ("case", "patient", "her2", "split")


@dataclass(frozen=True, slots=True)
class Label:
    """What is known of one case; empty cells are unknown."""

    patient: str
    her2: Her2 | None = None
    split: Split | None = None


def read_labels(path: Path, cases: Iterable[str]) -> dict[str, Label]:
    """Read ``case,patient,her2,split`` for the given cases; ``her2`` and ``split`` are optional.

    Raises :class:`UsageError` naming every line that is wrong, and every case without a line.
    """
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    if not {"case", "patient"} <= set(header) <= set(COLUMNS):
        raise UsageError(f"{path}, line 1: expected the columns case,patient,her2,split")
    labels: dict[str, Label] = {}
    named: set[str] = set()
    problems: list[str] = []
    for number, cells in enumerate(rows[1:], start=2):
        record = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        if any(record.values()):
            named.add(record.get("case", ""))
            try:
                labels[record["case"]] = _label(record)
            except (KeyError, ValueError) as error:
                problems.append(f"{path}, line {number}: {error}")
    problems += [_unlabelled(path, case, named) for case in cases if case not in named]
    if problems:
        raise UsageError("\n".join(problems))
    return labels


def _label(record: dict[str, str]) -> Label:
    split = record.get("split") or None
    if split is not None and split not in SPLITS:
        raise ValueError(f"expected the split train, val or test, found {split!r}")
    if not record["patient"]:
        raise ValueError("the patient is missing")
    her2 = parse_her2(record["her2"]) if record.get("her2") else None
    return Label(record["patient"], her2, split)


def _unlabelled(path: Path, case: str, named: set[str]) -> str:
    near = difflib.get_close_matches(case, sorted(named), n=1)
    return f"{path} has no line for case {case}" + (f". Nearest: {near[0]}" if near else "")
