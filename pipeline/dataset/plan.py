"""What a dataset is made from, what a finished one is, and the names of its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.dataset.summary import DatasetCase, Summary
from pipeline.dataset.table import UNNAMED_STAIN, PatchRow
from pipeline.patches.settings import PatchSettings
from pipeline.split import SplitSettings
from registration.files.storage import settings_hash

RECORD_NAME = "dataset.json"
REPORT_NAME = "dataset.html"
FIGURES = "figures"
FORMAT = "bci-pipeline dataset"
FORMAT_VERSION = 1
KEY_VERSION = 3
"""Raised when a dataset would look different for equal inputs."""


@dataclass(frozen=True)
class DatasetPlan:
    """All that a dataset is made from."""

    name: str
    cases: tuple[DatasetCase, ...]
    settings: PatchSettings
    split: SplitSettings = SplitSettings()

    @property
    def key(self) -> str:
        """Hash of everything the dataset depends on."""
        cases = [
            [
                case.name,
                case.patient,
                case.her2,
                case.split,
                case.excluded,
                case.key,
                *([case.stain] if case.stain != UNNAMED_STAIN else []),
            ]
            for case in sorted(self.cases, key=lambda case: case.name)
        ]
        return settings_hash(
            KEY_VERSION, self.name, cases, self.settings.as_dict(), self.split.as_dict()
        )

    def shown(self, rows: Sequence[PatchRow]) -> tuple[DatasetPlan, list[PatchRow]]:
        """Return cases and rows as the dataset is to name them.

        Patients are called by their first case, and slides not at all, unless names are kept.
        """
        if self.settings.keep_names:
            return self, list(rows)
        patients: dict[str, str] = {}
        for case in self.cases:
            patients.setdefault(case.patient, case.name)
        cases = tuple(case.without_names(patients[case.patient]) for case in self.cases)
        shown = [replace(row, patient=patients[row.patient]) for row in rows]
        return replace(self, cases=cases), shown


@dataclass(frozen=True)
class Dataset:
    """A finished dataset."""

    folder: Path
    plan: DatasetPlan
    rows: tuple[PatchRow, ...]
    summary: Summary
