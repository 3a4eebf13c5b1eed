"""What a dataset is made from, what a finished one is, and the names of its files."""

from __future__ import annotations

from dataclasses import dataclass
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
KEY_VERSION = 2
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


@dataclass(frozen=True)
class Dataset:
    """A finished dataset."""

    folder: Path
    plan: DatasetPlan
    rows: tuple[PatchRow, ...]
    summary: Summary
