"""From the patches of many cases to one dataset folder.

The images of the cases are linked, not copied, where the file system allows it. ``SHA256SUMS`` is
written last: a folder with it is complete. Nothing in the folder depends on when, where or by how
many workers it was made.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.dataset.card import card_hash, notes_of, write_card
from pipeline.dataset.checksums import write_checksums
from pipeline.dataset.croissant import write_croissant
from pipeline.dataset.folder import replaced_whole
from pipeline.dataset.layouts import SAME_NAMES, pair_files, pair_name
from pipeline.dataset.metadata import write_metadata
from pipeline.dataset.plan import FORMAT, FORMAT_VERSION, RECORD_NAME, Dataset, DatasetPlan
from pipeline.dataset.report import write_report
from pipeline.dataset.summary import DatasetCase, summarise
from pipeline.dataset.table import COLUMNS, PatchRow, write_tables
from pipeline.errors import NoPairsError
from pipeline.patches.record import CasePatches, PatchCandidate
from pipeline.patches.writer import SUFFIXES
from pipeline.split import Label, Split, assign_splits, check_leakage
from registration.files.storage import write_json
from registration.patch_reasons import REASON_WORDS
from registration.result import versions

DECIDED_BY = {
    "no source": "max_filled",
    "blank HE": "min_tissue",
    "blank IHC": "min_tissue",
    "no match": "min_percentile",
    "shifted": "max_shift_um",
}
"""The setting that decides whether a candidate is left out for a reason."""


def assemble(plan: DatasetPlan, folder: Path) -> Dataset:
    """Write a dataset into ``folder``, replacing an older one of ours.

    Raises :class:`NoPairsError` where no pair is left, :class:`DatasetError` where a patient or a
    slide would be in two splits; :class:`UsageError` where the folder holds something else.
    """
    plan = replace(plan, cases=tuple(sorted(plan.cases, key=lambda case: case.name)))
    rows, images = table_of(plan)
    check_leakage([asdict(row) for row in rows])
    if not any(row.kept for row in rows):
        raise NoPairsError(_why_empty(plan, rows))
    notes = notes_of(folder)
    key = plan.key
    plan, rows = plan.shown(rows)
    with replaced_whole(folder) as new:
        for path, source in images.items():
            _link(source, new / path)
        dataset = Dataset(new, plan, tuple(rows), summarise(plan.cases, rows))
        write_tables(new, rows)
        write_croissant(dataset)
        write_metadata(new, plan.settings.layout, rows)
        write_report(dataset)
        card = write_card(dataset, notes)
        write_json(new / RECORD_NAME, record_of(dataset, key) | {"card": card_hash(card)})
        write_checksums(new)
    return replace(dataset, folder=folder)


def table_of(plan: DatasetPlan) -> tuple[list[PatchRow], dict[str, Path]]:
    """Return the table's rows, and where the image of each path in the dataset lies now."""
    splits = assign_splits(
        [Label(case.patient, case.her2, case.split) for case in plan.cases if case.patches],
        plan.split,
    )
    names = _Names(plan)
    rows: list[PatchRow] = []
    images: dict[str, Path] = {}
    for case in plan.cases:
        if case.patches is None:
            continue
        split = splits[case.patient]
        for candidate in sorted(case.patches.candidates, key=lambda item: (item.y, item.x)):
            row = _row(case, case.patches, candidate, split)
            if candidate.kept:
                file = names.of(case, candidate, split) + SUFFIXES[plan.settings.format]
                files = pair_files(plan.settings.layout, split, file, case.stain, names.several)
                sources = case.patches.images(candidate)
                images |= dict(zip(files.both, sources, strict=True))
                row = replace(row, he_file=files.he, ihc_file=files.ihc)
            rows.append(row)
    return rows, images


class _Names:
    """Names of pairs: numbered in each split, places of an H&E slide alike in every stain."""

    def __init__(self, plan: DatasetPlan) -> None:
        cut = [case for case in plan.cases if case.patches]
        self.several = len({case.stain for case in cut}) > 1
        self._by_place = self.several and plan.settings.layout in SAME_NAMES
        self._level = (
            {_frame(case): case.her2 for case in cut if case.her2} if self._by_place else {}
        )
        self._numbers: defaultdict[Split, dict[Hashable, int]] = defaultdict(dict)
        self._seen: Counter[Hashable] = Counter()

    def of(self, case: DatasetCase, candidate: PatchCandidate, split: Split) -> str:
        """Return the name of a kept pair."""
        numbers = self._numbers[split]
        if not self._by_place:
            numbers[len(numbers)] = number = len(numbers)
            return pair_name(number, split, case.her2)
        place = (_frame(case), candidate.x, candidate.y)
        self._seen[place, case.stain] += 1
        number = numbers.setdefault((place, self._seen[place, case.stain]), len(numbers))
        return pair_name(number, split, case.her2 or self._level.get(_frame(case)))


def _frame(case: DatasetCase) -> str:
    """Return what the places of a case are places of: an H&E slide that was not warped, or itself."""
    assert case.patches is not None
    slides = case.patches.slides
    return slides.he_hash if slides.moving == "ihc" else case.name


def record_of(dataset: Dataset, key: str) -> dict[str, Any]:
    """Return what ``dataset.json`` holds; ``key`` is that of all that it was made from."""
    plan, summary = dataset.plan, dataset.summary
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "key": key,
        "name": plan.name,
        "layout": plan.settings.layout,
        "versions": versions(),
        "settings": plan.settings.as_dict(),
        "split": plan.split.as_dict(),
        "kept": summary.kept,
        "funnel": [asdict(step) for step in summary.funnel],
        "cases": [
            asdict(line) | {"slides": asdict(case.patches.slides) if case.patches else None}
            for line, case in zip(summary.cases, plan.cases, strict=True)
        ],
    }


def _row(
    case: DatasetCase, patches: CasePatches, candidate: PatchCandidate, split: Split
) -> PatchRow:
    """Return a candidate's row; the columns that it knows itself are taken over by their names."""
    return PatchRow(
        pair_id=f"{case.name}_{candidate.x}_{candidate.y}",
        case=case.name,
        patient=case.patient,
        he_hash=patches.slides.he_hash,
        ihc_hash=patches.slides.ihc_hash,
        size=patches.settings.size,
        mpp=round(patches.mpp, 6),
        her2=case.her2,
        split=split,
        stain=case.stain,
        **{name: getattr(candidate, name) for name in COLUMNS if hasattr(candidate, name)},
    )


def _link(source: Path, target: Path) -> None:
    """Give an image its final name; a hard link where possible, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _why_empty(plan: DatasetPlan, rows: Sequence[PatchRow]) -> str:
    """Say why a dataset would hold no pair, and which limits that were."""
    excluded = "; ".join(f"{case.name} ({case.excluded})" for case in plan.cases if case.excluded)
    if all(case.excluded for case in plan.cases):
        return f"no pair is left, every case is excluded: {excluded}."
    if not rows:
        parts = ["the slides show no tissue"]
    else:
        settings = plan.settings.as_dict()
        lost = [
            f"{REASON_WORDS[reason]} ({count}"
            + (
                f"; {DECIDED_BY[reason]} {settings[DECIDED_BY[reason]]:g})"
                if reason in DECIDED_BY
                else ")"
            )
            for reason, count in Counter(row.reason for row in rows).most_common()
        ]
        parts = [
            f"of {len(rows)} candidates none was kept: {'; '.join(lost)}. Look at the scores, then "
            f"loosen a limit, or cut smaller patches than {plan.settings.size} px"
        ]
    parts += [f"excluded: {excluded}"] if excluded else []
    return f"no pair is left: {'. '.join(parts)}."
