"""What is known of cases besides their slides, for `patch`: a table of patients, levels and splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.split import SPLITS, Label
from registration.files.her2 import parse_her2
from registration.files.tables import MERGED, Row, Table, read_table, unrounded
from registration.files.words import excerpt, listed, nearest

COLUMNS = ("case", "patient", "her2", "split")
MOST_CASES = 8
"""Named of those without a line."""


def read_labels(path: Path, cases: Iterable[str]) -> dict[str, Label]:
    """Read the columns ``case``, ``patient``, ``her2`` and ``split``; only ``case`` must be there.

    Without the column ``patient`` each case is a patient of its own. Raises :class:`UsageError`
    naming every line that is wrong, both lines that contradict each other, and every case without
    a line.
    """
    table = read_table(path, UsageError, short_rows=True)
    if "case" not in table.columns(COLUMNS):
        raise table.header.error(f"expected the columns {','.join(COLUMNS)}, found {table.header}")
    labels: dict[str, Label] = {}
    lines: dict[str, int] = {}
    problems = _contradictions(table)
    for row, record in table.records(COLUMNS):
        lines.setdefault(record["case"], row.line)
        try:
            labels[record["case"]] = _label(record)
        except ValueError as error:
            problems.append(f"{row.place}: {error}")
    if missing := [case for case in cases if case not in lines]:
        problems.append(_unlabelled(path, missing, lines))
    if problems:
        raise UsageError(listed(problems))
    return labels


def ignored_columns(path: Path) -> list[str]:
    """Return the names of columns that mean nothing here."""
    return read_table(path, UsageError, short_rows=True).others(COLUMNS)


def _label(record: Mapping[str, str]) -> Label:
    """Return what one line says; raises :class:`ValueError`."""
    if not record["case"]:
        raise ValueError(f"the case is missing{MERGED}")
    patient = record.get("patient", record["case"])
    if not patient:
        raise ValueError(f"the patient is missing{MERGED}")
    split = record.get("split", "").lower() or None
    if split is not None and split not in SPLITS:
        raise ValueError(f"expected the split train, val or test, found {excerpt(record['split'])}")
    unrounded(record["case"], "case")
    unrounded(patient, "patient")
    return Label(patient, parse_her2(record["her2"]) if record.get("her2") else None, split)


def _contradictions(table: Table) -> list[str]:
    """Name both lines where a case stands twice, or a patient is given two splits."""
    problems = []
    cases: dict[str, Row] = {}
    splits: dict[str, tuple[Row, str]] = {}
    for row, record in table.records(COLUMNS):
        case, patient, split = (record.get(name, "") for name in ("case", "patient", "split"))
        first = cases.setdefault(case, row)
        if case and first is not row:
            problems.append(
                f"{row.place}: case {excerpt(case)} stands in line {first.line} already"
            )
        if patient and split:
            other, given = splits.setdefault(patient, (row, split))
            if given.lower() != split.lower():
                problems.append(
                    f"{row.place}: patient {excerpt(patient)} is given the split {split}, and "
                    f"{given} in line {other.line}; all cases of a patient belong to one split"
                )
    return problems


def _unlabelled(path: Path, cases: Sequence[str], named: Iterable[str]) -> str:
    """Say which cases have no line, each with the name that is nearest to it."""
    known = list(filter(None, named))
    shown = [
        f"{case} (nearest: {near})" if (near := nearest(case, known)) else case
        for case in cases[:MOST_CASES]
    ]
    more = [f"{len(cases) - MOST_CASES} more"] if len(cases) > MOST_CASES else []
    which = f"case{'s' * (len(cases) > 1)} {', '.join([*shown, *more])}"
    return f"{path} has no line for {which}: add what is missing, or leave these runs out"
