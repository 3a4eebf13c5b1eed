"""Patients to splits: stratified by HER2, the same for the same patients, never a patient in two."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import model_validator

from pipeline.errors import DatasetError
from registration.files.her2 import Her2
from registration.settings import Settings, setting

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class SplitSettings(Settings):
    """Shares of the patients that are held out, and the seed of the draw."""

    test: float = setting(0.2, "Share of the patients held out for test.", ge=0, lt=1)
    val: float = setting(0.0, "Share of the patients held out for validation.", ge=0, lt=1)
    seed: int = setting(0, "Seed of the draw of patients.")

    @model_validator(mode="after")
    def _leaves_somebody(self) -> Self:
        if self.test + self.val >= 1:
            raise ValueError(
                f"a share of {self.test:g} for test and {self.val:g} for val leaves nobody to train "
                "on; together they must be less than 1"
            )
        return self

    @property
    def shares(self) -> dict[Split, float]:
        """Share of the patients per split."""
        return {"train": 1 - self.test - self.val, "val": self.val, "test": self.test}


@dataclass(frozen=True, slots=True)
class Label:
    """What is known of one case besides its slides."""

    patient: str
    her2: Her2 | None = None
    split: Split | None = None
    """Given by a person; ``None`` leaves it to the draw."""


def assign_splits(cases: Iterable[Label], settings: SplitSettings) -> dict[str, Split]:
    """Return each patient's split.

    Within each HER2 level (a patient's highest) the patients are put in an order that depends on
    the seed and their names alone, and the splits are filled to their shares; what rounding leaves
    over evens out across the levels. A split that has a share gets at least one patient as long as
    there are enough. Raises :class:`DatasetError` for a patient given two splits.
    """
    given, level = _per_patient(cases)
    chosen: dict[str, Split] = dict(given)
    counts = {split: sum(value == split for value in given.values()) for split in SPLITS}
    free = sorted(level.keys() - given.keys(), key=lambda name: _draw(settings.seed, name))
    strata = sorted({level[name] for name in free})
    seen = len(given)
    for stratum in strata:
        for name in (name for name in free if level[name] == stratum):
            seen += 1
            chosen[name] = _neediest(counts, settings.shares, seen)
            counts[chosen[name]] += 1
    _fill_empty(chosen, free, settings)
    return dict(sorted(chosen.items()))


def check_leakage(rows: Sequence[Mapping[str, object]]) -> None:
    """Raise :class:`DatasetError` when a patient or a slide appears in two splits.

    ``rows`` have ``patient``, ``he_hash``, ``ihc_hash``, ``split`` and ``case``, and may have
    ``he_path`` and ``ihc_path``, by which slides are then called.
    """
    names = {
        row[f"{stain}_hash"]: Path(str(row[f"{stain}_path"])).name
        for row in rows
        for stain in ("he", "ihc")
        if f"{stain}_path" in row
    }
    found: dict[tuple[str, object], set[str]] = defaultdict(set)
    cases: dict[tuple[str, object], set[str]] = defaultdict(set)
    for row in rows:
        for kind in ("patient", "he_hash", "ihc_hash"):
            if row[kind] is not None:
                found[kind, row[kind]].add(str(row["split"]))
                cases[kind, row[kind]].add(str(row["case"]))
    leaks = [
        f"{'patient' if kind == 'patient' else 'slide'} {names.get(value, value)} is in "
        f"{' and '.join(sorted(splits))} (cases {', '.join(sorted(cases[kind, value]))})"
        for (kind, value), splits in sorted(found.items(), key=str)
        if len(splits) > 1
    ]
    if leaks:
        raise DatasetError(
            "the same tissue would be trained on and tested on: "
            f"{'; '.join(leaks)}. Give cases that share a slide the same patient."
        )


def oddities(
    cases: Sequence[Label], splits: Mapping[str, Split], settings: SplitSettings
) -> tuple[str, ...]:
    """Return what will be missed later: splits without a patient, HER2 levels not trained on."""
    found = [
        f"no patient is left for {split}; add patients, or give every case a split in the labels"
        for split in SPLITS
        if settings.shares[split] > 0 and split not in splits.values()
    ]
    held: dict[str, set[Split]] = defaultdict(set)
    for case in cases:
        if case.her2 is not None:
            held[case.her2].add(splits[case.patient])
    found += [
        f"HER2 {level} is in {' and '.join(sorted(where))} alone: nothing of it is trained on"
        for level, where in sorted(held.items())
        if "train" not in where
    ]
    return tuple(found)


def _per_patient(cases: Iterable[Label]) -> tuple[dict[str, Split], dict[str, str]]:
    """Return the splits that were given, and each patient's HER2 stratum."""
    given: dict[str, Split] = {}
    level: dict[str, str] = {}
    for case in cases:
        level[case.patient] = max(level.get(case.patient, ""), case.her2 or "")
        if case.split is None:
            continue
        if given.setdefault(case.patient, case.split) != case.split:
            raise DatasetError(
                f"patient {case.patient} is given both split {given[case.patient]} and split "
                f"{case.split}; all cases of a patient belong to one split"
            )
    return given, level


def _draw(seed: int, name: str) -> str:
    """Return a patient's place in the draw."""
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()


def _neediest(counts: Mapping[Split, int], shares: Mapping[Split, float], seen: int) -> Split:
    """Return the split that is farthest below its share of ``seen`` patients; ties go to train."""
    wanted = [split for split in SPLITS if shares[split] > 0]
    return max(wanted, key=lambda split: (shares[split] * seen - counts[split], split == "train"))


def _fill_empty(chosen: dict[str, Split], free: Sequence[str], settings: SplitSettings) -> None:
    """Move a patient from train into a held-out split that got nobody, if train keeps one."""
    for split in ("test", "val"):
        if settings.shares[split] == 0 or split in chosen.values():
            continue
        donors = [name for name in free if chosen[name] == "train"]
        if len(donors) > 1:
            chosen[donors[0]] = split
