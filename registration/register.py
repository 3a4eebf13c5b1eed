"""Register one pair: start, non-rigid passes, quality, image. The shell around the pure parts.

Every unit of work is a plain function of picklable values. Finished blocks are kept in the run
folder under the hash of their inputs, so that a killed run goes on where it stopped.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2

from registration.errors import SettingsError
from registration.execution import InProcess, Progress, Workers, no_progress
from registration.figures import Quality
from registration.files.storage import settings_hash, write_json, write_npz
from registration.files.text import json_record
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
from registration.nonrigid.coarse_pass import coarse_field
from registration.nonrigid.elastix import warm_up
from registration.nonrigid.grid import BlockGrid
from registration.pair import SlidePair
from registration.pieces.drawn import DrawnPair
from registration.pieces.join import (
    PieceResult,
    landmarks_of,
    left_out_of,
    map_of,
    piece_records,
    quality_of,
    result_on_slides,
    scored,
    start_of,
    verdict_of_pieces,
)
from registration.pieces.plan import choose_starts
from registration.pieces.planned import PiecePlan, PlannedPiece
from registration.quality.quality import Stages, measure
from registration.quality.verdict import verdict_of, with_confirmed, with_doubt
from registration.recipes import (
    PassSettings,
    RegistrationSettings,
    coarse_downsample,
    fine_pass,
    settings_of_part,
)
from registration.registered_slide import write_image
from registration.residual_map import ResidualMap
from registration.result import (
    RECORD_NAME,
    RESIDUAL_NAME,
    BlockRecord,
    Registration,
    SlideRecord,
    write_registration,
)
from registration.slides.formats import SUFFIXES, ImageFormat
from registration.stains import pair_doubt
from registration.start.choose import InitialAlignment
from registration.tissue import TissueMap
from registration.transforms import Chain, DisplacementField, Projective, SplicedField

TIMINGS_NAME = "timings.json"
TRANSFORMS_FOLDER = "transforms"
KEY_VERSION = 11
"""Raised when the algorithm changes, so that results of an older one are not taken up again."""


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
class _Job:
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


def register_pair(
    pair: SlidePair,
    folder: Path,
    settings: RegistrationSettings | None = None,
    options: RunOptions | None = None,
    workers: Workers | None = None,
    progress: Progress = no_progress,
) -> Registration:
    """Register ``pair`` into ``folder`` and return what was written there.

    A finished run of the same inputs and settings in ``folder`` is returned as it is; a killed one
    goes on. Raises :class:`registration.errors.StartError` when no initial alignment can be
    confirmed; the proposed landmarks are then in ``folder`` for a person to edit.
    """
    settings, options = settings or RegistrationSettings(), options or RunOptions()
    key = run_key(pair, settings, options)
    if finished_key(folder) == key:
        return Registration.load(folder)
    workers = workers or InProcess()
    job = _Job(pair, folder, settings, options, workers, progress, key)
    job.cache.mkdir(parents=True, exist_ok=True)
    workers.start(_prepare_worker)
    registration = _register(job)
    write_json(folder / TIMINGS_NAME, job.seconds)
    shutil.rmtree(job.cache)
    return registration


def run_key(pair: SlidePair, settings: RegistrationSettings, options: RunOptions) -> str:
    """Return the hash of all that a result depends on."""
    slides = [
        [record.hash, record.mpp] for record in (SlideRecord.of(pair.he), SlideRecord.of(pair.ihc))
    ]
    return settings_hash(KEY_VERSION, slides, pair.moving, asdict(settings), *options.described)


def finished_key(folder: Path) -> str | None:
    """Return the key of a finished run in ``folder``, or ``None``."""
    key = json_record(folder / RECORD_NAME).get("key")
    return None if key is None else str(key)


def _prepare_worker() -> None:
    """Make a worker ready for its first unit; there is one per core, so OpenCV starts no threads."""
    cv2.setNumThreads(1)
    warm_up()


def _register(job: _Job) -> Registration:
    """Run all stages; the record is written last."""
    with job.timed("tissue"):
        tissue = TissueMap.of(job.pair.fixed_slide)
    with job.timed("start"):
        job.progress("start", 0, 1)
        start = _start(job, tissue)
        job.progress("start", 1, 1)
    if isinstance(start, InitialAlignment):
        return _whole(job, start, tissue)
    return _in_pieces(job, start)


def _start(job: _Job, tissue: TissueMap) -> InitialAlignment | PiecePlan:
    """Return the start of the slide, or of its pieces, which the paper's recipe cannot serve."""
    options = job.options
    start = choose_starts(job.pair, options.landmarks, job.folder, tissue, options.drawn)
    if job.settings.recipe == "paper" and isinstance(start, PiecePlan):
        raise SettingsError(
            f"{job.pair.fixed_slide.path} shows pieces that no single alignment serves; the paper's "
            "recipe has one for the whole slide: leave out --recipe paper"
        )
    return start


def _whole(job: _Job, start: InitialAlignment, tissue: TissueMap) -> Registration:
    """Register the slide as one piece."""
    chain, records, quality, places = _measured(job, start.transform, tissue, job.options.truth)
    own = verdict_of(quality, records, start.record.verified)
    verdict, reasons = with_doubt(own, pair_doubt(job.pair))
    registration = Registration(
        **_inputs(job),
        start=start.record,
        chain=chain,
        blocks=tuple(records),
        quality=quality,
        verdict=verdict,
        reasons=tuple(reasons),
        image=_image(job, chain),
    )
    write_npz(job.folder / RESIDUAL_NAME, **places.arrays())
    write_registration(registration, start.landmarks)
    return registration


def _in_pieces(job: _Job, plan: PiecePlan) -> Registration:
    """Register each piece on its own and join the results."""
    pair, truth = job.pair, job.options.truth
    results = [_piece(job, plan, piece) for piece in plan.planned]
    chain = map_of(plan, results, pair)
    results = scored(results, chain, pair, truth)
    verdict, reasons = with_doubt(verdict_of_pieces(results, plan, pair.moving), pair_doubt(pair))
    registration = Registration(
        **_inputs(job),
        start=start_of(results),
        chain=chain,
        blocks=tuple(block for result in results for block in result.blocks),
        quality=quality_of(results, chain, pair, truth),
        verdict=verdict,
        reasons=tuple(reasons),
        image=_image(job, chain),
        pieces=tuple(piece_records(plan, results, pair.moving)),
    )
    write_npz(
        job.folder / RESIDUAL_NAME, **ResidualMap.joined([r.places for r in results]).arrays()
    )
    write_registration(registration, landmarks_of(results, pair.moving))
    return registration


def _piece(job: _Job, plan: PiecePlan, piece: PlannedPiece) -> PieceResult:
    """Register one piece as if its parts were the slides."""
    fixed, moving = piece.fixed.slide, piece.moving.slide
    he, ihc = (moving, fixed) if job.pair.moving == "he" else (fixed, moving)
    count, before = len(plan.planned), piece.number - 1

    def progress(stage: str, done: int, total: int) -> None:
        job.progress(stage, before * total + done, count * total)

    tissue = TissueMap.of(fixed)
    own = replace(
        job,
        pair=SlidePair(he, ihc, job.pair.moving),
        settings=settings_of_part(job.settings, fixed.size, job.pair.fixed_slide.size),
        progress=progress,
        prefix=f"piece_{piece.number}_",
        extent=tissue.extent,
        pieces=count,
    )
    start = piece.start.transform
    chain, records, quality, places = _measured(own, start, tissue, None)
    return result_on_slides(piece, chain, (records, quality, places))


def _measured(
    job: _Job, start: Projective, tissue: TissueMap, truth: Landmarks | None
) -> tuple[Chain, list[BlockRecord], Quality, ResidualMap]:
    """Run the non-rigid passes from a start and measure what they reach."""
    pair = job.pair
    field_, records = _nonrigid(job, start, tissue)
    chain = Chain((field_, start))
    with job.timed("quality"):
        grid = _grid(pair, fine_pass(job.settings, job.worked_size, pair.fixed_slide.mpp))
        stages = Stages(pair, start, chain, grid, tissue, job.pieces)
        quality, places = measure(stages, truth, job.workers, job.progress)
    return chain, with_confirmed(records, places), quality, places


def _image(job: _Job, chain: Chain) -> str | None:
    """Write the registered slide and return its name, where one is wanted."""
    if job.options.image is None:
        return None
    with job.timed("image"):
        name = f"registered{SUFFIXES[job.options.image]}"
        path = job.folder / name
        write_image(job.pair, chain, path, job.options.image, job.workers, job.progress)
    return name


def _inputs(job: _Job) -> dict[str, Any]:
    """Return the fields of a registration that are known beforehand."""
    return {
        "folder": job.folder,
        "key": job.key,
        "he": SlideRecord.of(job.pair.he),
        "ihc": SlideRecord.of(job.pair.ihc),
        "moving": job.pair.moving,
        "settings": job.settings,
        "left_out": left_out_of(job.options.drawn, job.pair.moving),
    }


def _nonrigid(
    job: _Job, start: Projective, tissue: TissueMap
) -> tuple[DisplacementField | SplicedField, list[BlockRecord]]:
    """Run the recipe's non-rigid passes."""
    fixed = job.pair.fixed_slide
    settings = fine_pass(job.settings, job.worked_size, fixed.mpp)
    grid = _grid(job.pair, settings)
    if job.settings.recipe == "paper":
        results = _blocks(job, grid, Chain((start,)), settings, tissue)
        write_transform_files(job.folder / TRANSFORMS_FOLDER, results)
        cores = tuple(result.block.core for result in results)
        spliced = SplicedField(cores, tuple(result.spline for result in results))
        return spliced, [result.record for result in results]
    with job.timed("coarse"):
        job.progress("coarse", 0, 1)
        coarse = coarse_field(job.pair, start, tissue, coarse_downsample(job.worked_size))
        job.progress("coarse", 1, 1)
    results = _blocks(job, grid, Chain((coarse, start)), settings, tissue)
    spacing = node_spacing(settings, fixed.mpp)
    field_ = composed(blended(grid, results, spacing), coarse, spacing, fixed.size)
    return field_, [result.record for result in results]


def _grid(pair: SlidePair, settings: PassSettings) -> BlockGrid:
    size, mpp = pair.fixed_slide.size, pair.fixed_slide.mpp
    return BlockGrid(size, settings.rows, settings.columns, round(settings.halo_um / mpp))


def _blocks(
    job: _Job, grid: BlockGrid, chain: Chain, settings: PassSettings, tissue: TissueMap
) -> list[BlockResult]:
    """Register the blocks, taking up those that an earlier run finished."""
    pair = job.pair
    tasks = [
        BlockTask(
            pair.fixed_slide,
            pair.moving_slide,
            chain,
            block,
            tissue,
            job.settings.channel,
            settings,
        )
        for block in grid
    ]
    paths = [job.cache / f"{job.prefix}block_{task.block.name}.npz" for task in tasks]
    todo = [pair_ for pair_ in zip(tasks, paths, strict=True) if not pair_[1].exists()]
    done = len(tasks) - len(todo)
    with job.timed("blocks"):
        for count, _ in enumerate(job.workers.map(register_into, todo), start=done + 1):
            job.progress("blocks", count, len(tasks))
    return [read_result(task, path) for task, path in zip(tasks, paths, strict=True)]
