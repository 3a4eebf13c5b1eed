"""The alignment of pairs that nobody measured yet, found out before a model is trained on them.

A download has no table of patches, so nothing says which of its pairs are shifted and should teach
less. They are compared as ``patch`` compares its own, once for each run folder.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from pipeline.dataset.external import score
from pipeline.patches.alignment import WINDOW_UM
from pipeline.patches.grades import Grade
from registration.execution import usable_cores, workers
from registration.files.storage import settings_hash, write_json
from registration.files.text import read_json
from registration.files.words import counted, duration
from training.data.confidence import alignment_known
from training.data.images import image_size
from training.data.table import trust_of
from training.errors import DataError
from training.inference.checkpoints import CHECKPOINT

if TYPE_CHECKING:
    from training.data.pairs import PairDataset, PatchPair
    from training.run.history import Listener

MEASURED = "alignment.json"
ASSUMED_MPP = 0.46
"""BCI's, for images that do not say."""
FORMAT = "bci-pipeline alignment 2"
CPU_S_PER_UM2 = 1.8e-6
FEW = 100
"""Up to so many pairs are measured before other processes would have started."""

Row = tuple[float, float | None, Grade | None]
"""Shift in pixels, how many per cent of mismatched pairs are less alike, and the grade."""


def unmeasured(dataset: PairDataset, run: Path) -> tuple[PatchPair, ...]:
    """Return the training pairs whose alignment is to be measured.

    None where that of any is known, where the images are smaller than what is compared, or where the
    run goes on that began without.
    """
    if (run / CHECKPOINT).exists() and not (run / MEASURED).exists():
        return ()
    pairs = dataset.select("train")
    mpp = dataset.mpp() or ASSUMED_MPP
    small = bool(pairs) and min(image_size(pairs[0].ihc.path)) * mpp < WINDOW_UM
    return () if alignment_known(pairs) or small else pairs


def outlook(dataset: PairDataset, run: Path) -> str:
    """Return what will be measured, and about how long it takes; empty where nothing will be."""
    pairs = unmeasured(dataset, run)
    if not pairs:
        return ""
    width, height = image_size(pairs[0].ihc.path)
    area = width * height * (dataset.mpp() or ASSUMED_MPP) ** 2
    seconds = len(pairs) * area * CPU_S_PER_UM2 / usable_cores()
    return (
        f"no table of patches: the alignment of {counted(len(pairs), 'pair')} will be measured first, "
        f"about {duration(seconds)} (--no-measure leaves it out)"
    )


def with_alignment(dataset: PairDataset, run: Path, listener: Listener) -> PairDataset:
    """Return ``dataset`` with the alignment of its training pairs, which is kept in ``run``.

    As it is, where the alignment is known already, or cannot be measured on such small images. Raises
    :class:`training.errors.DataError` for an unreadable image.
    """
    pairs, mpp = unmeasured(dataset, run), dataset.mpp() or ASSUMED_MPP
    if not pairs:
        return dataset
    path, key = run / MEASURED, _key(pairs, mpp)
    rows = _kept(path, key)
    if rows is None:
        rows = _measured(pairs, mpp, listener)
        write_json(path, {"format": FORMAT, "key": key, "mpp": mpp, "rows": rows})
    known = {
        id(pair): replace(pair, shift_px=shift, trust=trust_of(rank), grade=grade)
        for pair, (shift, rank, grade) in zip(pairs, rows, strict=True)
    }
    return replace(dataset, pairs=tuple(known.get(id(pair), pair) for pair in dataset.pairs))


def _measured(pairs: Sequence[PatchPair], mpp: float, listener: Listener) -> list[Row]:
    """Measure, and say how long it took."""
    listener.note(
        f"no table of patches: the alignment of {counted(len(pairs), 'pair')} is measured first, so that "
        "shifted ones count less"
    )
    began = time.monotonic()
    count = None if len(pairs) > FEW else 1
    with workers(count) as pool:
        found = score(pairs, mpp, pool, listener.preparing)
    shifts = [one.shift_px for one in found]
    listener.note(
        f"alignment of {counted(len(pairs), 'pair')} measured in {duration(time.monotonic() - began)}: "
        f"median shift {median(shifts):.1f} px"
    )
    return [(one.shift_px, one.null_percentile, one.grade) for one in found]


def _kept(path: Path, key: str) -> list[Row] | None:
    """Return what was measured of the same pairs before."""
    if not path.exists():
        return None
    stored = read_json(path, DataError)
    same = isinstance(stored, dict) and stored.get("format") == FORMAT and stored["key"] == key
    return [(shift, rank, grade) for shift, rank, grade in stored["rows"]] if same else None


def _key(pairs: Sequence[PatchPair], mpp: float) -> str:
    """Return a hash of the files that are measured."""
    files = [image.path for pair in pairs for image in (pair.he, pair.ihc)]
    states = [(str(path.absolute()), path.stat()) for path in files]
    return settings_hash([mpp, *([name, s.st_size, s.st_mtime_ns] for name, s in states)])
