"""What a cohort's run needs of the machine: disk and memory, and how many cases fit beside each other."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.cohort.state import Cohort, Stage
from pipeline.errors import PipelineError, UsageError
from pipeline.manifest.manifest import Case
from pipeline.patches.grid import PatchGrid
from pipeline.stages.patch import BYTES_PER_PIXEL
from pipeline.stages.register import BYTES_PER_OUTPUT_PIXEL
from registration.errors import RegistrationError
from registration.files.memory import free_memory
from registration.geometry import Size
from registration.slides.slide import open_slide

TISSUE_SHARE = 0.5
"""Of a slide, assumed while nobody has looked."""
DRAWN_MPP = 0.46
"""Of synthetic slides."""
RECORD_MIB = 5.0
"""What a registration leaves beside its image: fields, report, pictures."""
CASE_GIB, WORKER_GIB, PROGRAM_GIB = 0.7, 0.6, 0.3
"""Of the process of a case, of a worker, and of the program that runs them."""
FREE_SHARE = 0.8
"""Of the free memory, what a run takes at most."""
MIB, GIB = 2.0**20, 2.0**30
ROUNDING = 1e-6


def cases_at_once(count: int, limit_gib: float | None = None) -> int:
    """Return how many cases may run beside each other on ``count`` workers.

    While blocks of one case fill the workers, others look for tissue and a start, or write a report:
    one more than half of the workers keeps them all busy. Without a limit most of the free memory may
    be used, and one case runs however little there is. Raises :class:`UsageError` where not even one
    fits into the limit.
    """
    usable = FREE_SHARE * free_memory() / GIB if limit_gib is None else limit_gib
    fitting = int((usable - PROGRAM_GIB - count * WORKER_GIB) / CASE_GIB + ROUNDING)
    if fitting < 1 and limit_gib is not None:
        raise UsageError(
            f"a case with {count} workers needs about {memory_gib(count, 1):.1f} GiB of memory, and "
            f"{limit_gib:.1f} GiB may be used: give fewer --workers, or more --memory"
        )
    return max(1, min(count // 2 + 1, count, fitting))


def memory_gib(count: int, at_once: int) -> float:
    """Return about how much memory a run takes."""
    return PROGRAM_GIB + count * WORKER_GIB + at_once * CASE_GIB


def disk_mib(cohort: Cohort, case: Case, stages: Sequence[Stage]) -> float:
    """Return about how much disk the stages of a case that are not done yet will fill.

    Nothing where that cannot be known: a slide that cannot be opened fails by itself.
    """
    try:
        size, mpp = _fixed(cohort, case)
    except (RegistrationError, PipelineError):
        return 0.0
    need = 0.0
    if "register" in stages and cohort.state(case, "register").word != "done":
        image = cohort.request(case).image is not None
        need += RECORD_MIB + image * size.width * size.height * BYTES_PER_OUTPUT_PIXEL / MIB
    if "patch" in stages and cohort.state(case, "patch").word not in ("done", "excluded"):
        need += patches_mib(cohort, size, mpp)
    return need


def check_disk(folder: Path, need_mib: float, what: str) -> None:
    """Raise :class:`UsageError` where a disk has less free than is needed for something."""
    existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(existing).free / MIB
    if need_mib > free:
        raise UsageError(
            f"{what} needs about {need_mib / 1024:.1f} GiB and the disk of {folder} has "
            f"{free / 1024:.1f} GiB free: make room, choose another `out:`, or cut fewer patches "
            "(patch: format: webp or jpeg, a larger stride)"
        )


def case_patches_mib(cohort: Cohort, case: Case) -> float:
    """Return the size of a case's patches if half of the slide is tissue."""
    drawn = cohort.manifest.synthetic
    if drawn is not None and not (case.he.exists() and case.ihc.exists()):
        return patches_mib(cohort, Size(drawn.size, drawn.size), DRAWN_MPP)
    return patches_mib(cohort, *_fixed(cohort, case))


def patches_mib(cohort: Cohort, size: Size, mpp: float) -> float:
    """Return the size of the patches on half of a slide."""
    settings = cohort.manifest.patch
    grid = PatchGrid.on(size, mpp, settings.size, settings.step, settings.mpp)
    pairs = grid.rows * grid.columns * TISSUE_SHARE
    return pairs * 2 * settings.size**2 * BYTES_PER_PIXEL[settings.format] / MIB


def _fixed(cohort: Cohort, case: Case) -> tuple[Size, float]:
    """Return size and µm per pixel of the slide that keeps its pixels."""
    fixed, mpp, option = (
        (case.ihc, case.mpp_ihc, "mpp_ihc")
        if cohort.manifest.registering(case).moving == "he"
        else (case.he, case.mpp_he, "mpp_he")
    )
    with open_slide(fixed, mpp, option) as slide:
        return slide.size, slide.mpp
