"""Pictures of a case for the report: the fixed slide, and rejected pairs that nearly made it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import numpy as np

from pipeline.patches.grid import PatchGrid
from pipeline.patches.record import EXAMPLES, THUMBNAIL, CasePatches, PatchCandidate
from pipeline.patches.settings import PatchSettings
from pipeline.patches.writer import RunSource, cut_pair, write_image
from registration.files.images import read_image
from registration.geometry import Box, Image
from registration.patch_reasons import REASONS

THUMBNAIL_PX = 1000
EXAMPLE_PX = 320
PER_REASON = 2


def illustrate(source: RunSource, grid: PatchGrid, patches: CasePatches) -> None:
    """Write the fixed slide's thumbnail and the instructive rejected pairs into the case folder."""
    registration, pair = source.open()
    thumbnail, _ = pair.fixed_slide.thumbnail(THUMBNAIL_PX)
    write_image(patches.folder / THUMBNAIL, thumbnail, "jpeg")
    shutil.rmtree(patches.folder / EXAMPLES, ignore_errors=True)
    coarser = max(1.0, patches.settings.size / EXAMPLE_PX)
    downsample = grid.downsample * coarser
    side = round(patches.settings.size / coarser)
    for candidate in instructive(patches.candidates, patches.settings):
        box = Box(round(candidate.column / coarser), round(candidate.row / coarser), side, side)
        he, ihc = cut_pair(registration, pair, box, downsample)
        path = patches.folder / EXAMPLES / f"{candidate.x}_{candidate.y}.jpg"
        write_image(path, np.hstack([he, ihc]), "jpeg")


def instructive(
    candidates: Sequence[PatchCandidate], settings: PatchSettings
) -> list[PatchCandidate]:
    """Return, per reason, the rejected candidates that came nearest to being kept."""
    chosen: list[PatchCandidate] = []
    for reason in REASONS:
        rejected = [item for item in candidates if item.reason == reason]
        rejected.sort(key=lambda item: (_lack(item, settings), item.y, item.x))
        chosen += rejected[:PER_REASON]
    return chosen


def read_example(patches: CasePatches, candidate: PatchCandidate) -> Image | None:
    """Return the picture of a rejected pair, H&E beside IHC; ``None`` where none was kept."""
    path = patches.folder / EXAMPLES / f"{candidate.x}_{candidate.y}.jpg"
    return read_image(path) if path.exists() else None


def _lack(candidate: PatchCandidate, settings: PatchSettings) -> float:
    """Return by how much a rejected candidate misses its limit."""
    return {
        "no piece": 0.0,
        "no source": candidate.filled - settings.max_filled,
        "folded": 0.0,
        "blank HE": settings.min_tissue - candidate.he_tissue,
        "blank IHC": settings.min_tissue - candidate.ihc_tissue,
        "no match": settings.min_percentile - (candidate.null_percentile or 0.0),
        "shifted": (candidate.shift_um or 0.0) - settings.max_shift_um,
    }[candidate.reason]
