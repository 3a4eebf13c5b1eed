"""The passes of a run: the coarse one, then blocks on top of it, of the slides or of each piece.

Every unit of work is a plain function of picklable values, for workers of this machine or others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registration.execution import Progress, Workers
from registration.geometry import Size
from registration.landmarks.landmarks import Landmarks
from registration.nonrigid.block import (
    BlockResult,
    BlockTask,
    blended,
    composed,
    node_spacing,
    write_transform_files,
)
from registration.nonrigid.block_store import read_result, register_into
from registration.nonrigid.coarse_pass import CoarseTask, coarse_field
from registration.nonrigid.grid import BlockGrid
from registration.pair import SlidePair
from registration.pieces.drawn import DrawnPair
from registration.recipes import (
    PassSettings,
    RegistrationSettings,
    coarse_downsample,
    fine_pass,
)
from registration.result import BlockRecord
from registration.slides.formats import ImageFormat
from registration.tissue import TissueMap
from registration.transforms import Chain, DisplacementField, Projective, SplicedField

TRANSFORMS_FOLDER = "transforms"


@dataclass(frozen=True)
class RunOptions:
    """What a run is given besides the two slides and the settings."""

    landmarks: Landmarks | None = None
    """Picked pairs; without them they are proposed automatically."""
    truth: Landmarks | None = None
    """Pairs that only score the result."""
    image: ImageFormat | None = "tiff"
    drawn: DrawnPair | None = None
    """Outlines of pieces that a person drew."""

    @property
    def described(self) -> list[Any]:
        """All of it as plain values, for a hash."""
        pairs = [
            given and [given.names, given.he, given.ihc, given.enabled, *(given.pieces or ())]
            for given in (self.truth, self.landmarks)
        ]
        drawn = self.drawn and [side and side.described for side in (self.drawn.he, self.drawn.ihc)]
        return [*pairs, self.image, drawn]


@dataclass(frozen=True)
class Job:
    """One run in progress."""

    pair: SlidePair
    folder: Path
    settings: RegistrationSettings
    options: RunOptions
    workers: Workers
    progress: Progress
    key: str
    prefix: str = ""
    """Of the names of finished units."""
    extent: Size | None = None
    """Of a piece's tissue: its passes follow that, however it is turned, and not the glass around it."""
    pieces: int = 1
    """Of how many pieces this is one."""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def cache(self) -> Path:
        """Folder of finished units."""
        return self.folder / f".work-{self.key}"

    @property
    def worked_size(self) -> Size:
        """What the passes are made for, in level-0 pixels."""
        return self.extent or self.pair.fixed_slide.size

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the wall time of a stage to the log."""
        begun = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begun


@dataclass(frozen=True, eq=False)
class Part:
    """What is registered as one: the slides, or a piece on each of them."""

    job: Job
    start: Projective
    tissue: TissueMap
    """Of the fixed slide."""

    @property
    def passes(self) -> PassSettings:
        """Settings of the pass of blocks."""
        job = self.job
        return fine_pass(job.settings, job.worked_size, job.pair.fixed_slide.mpp)

    @property
    def grid(self) -> BlockGrid:
        """The blocks."""
        fixed, settings = self.job.pair.fixed_slide, self.passes
        halo = round(settings.halo_um / fixed.mpp)
        return BlockGrid(fixed.size, settings.rows, settings.columns, halo)


def coarse_fields(job: Job, parts: Sequence[Part]) -> list[DisplacementField | None]:
    """Run the coarse passes of all parts beside each other; the paper's recipe has none."""
    if job.settings.recipe == "paper":
        return [None] * len(parts)
    tasks = [
        CoarseTask(part.job.pair, part.start, part.tissue, coarse_downsample(part.job.worked_size))
        for part in parts
    ]
    fields: list[DisplacementField | None] = []
    with job.timed("coarse"):
        job.progress("coarse", 0, len(tasks))
        for found in job.workers.map(coarse_field, tasks):
            fields.append(found)
            job.progress("coarse", len(fields), len(tasks))
    return fields


def nonrigid(
    part: Part, coarse: DisplacementField | None
) -> tuple[DisplacementField | SplicedField, list[BlockRecord]]:
    """Run the pass of blocks on what the coarse pass found; without one the paper's."""
    job, settings = part.job, part.passes
    if coarse is None:
        results = _blocks(part, Chain((part.start,)))
        write_transform_files(job.folder / TRANSFORMS_FOLDER, results)
        cores = tuple(result.block.core for result in results)
        spliced = SplicedField(cores, tuple(result.spline for result in results))
        return spliced, [result.record for result in results]
    results = _blocks(part, Chain((coarse, part.start)))
    fixed = job.pair.fixed_slide
    spacing = node_spacing(settings, fixed.mpp)
    field_ = composed(blended(part.grid, results, spacing), coarse, spacing, fixed.size)
    return field_, [result.record for result in results]


def _blocks(part: Part, chain: Chain) -> list[BlockResult]:
    """Register the blocks, taking up those that an earlier run finished."""
    job = part.job
    tasks = [
        BlockTask(
            job.pair.fixed_slide,
            job.pair.moving_slide,
            chain,
            block,
            part.tissue,
            job.settings.channel,
            part.passes,
        )
        for block in part.grid
    ]
    paths = [job.cache / f"{job.prefix}block_{task.block.name}.npz" for task in tasks]
    todo = [pair_ for pair_ in zip(tasks, paths, strict=True) if not pair_[1].exists()]
    done = len(tasks) - len(todo)
    with job.timed("blocks"):
        for count, _ in enumerate(job.workers.map(register_into, todo), start=done + 1):
            job.progress("blocks", count, len(tasks))
    return [read_result(task, path) for task, path in zip(tasks, paths, strict=True)]
