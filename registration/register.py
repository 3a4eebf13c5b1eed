"""Register one pair: start, non-rigid passes, quality, image. The shell around the pure parts.

Every unit of work is a plain function of picklable values. Finished blocks are kept in the run
folder under the hash of their inputs, so that a killed run goes on where it stopped.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2

from registration.errors import SettingsError, StartError
from registration.execution import InProcess, Progress, Workers, no_progress
from registration.figures import Quality, Verdict
from registration.files.storage import settings_hash, write_json, write_npz
from registration.files.text import json_record
from registration.landmarks.landmarks import Landmarks
from registration.nonrigid.elastix import warm_up
from registration.pair import SlidePair
from registration.passes import Job, Part, RunOptions, coarse_fields, nonrigid
from registration.pieces.join import (
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
from registration.recipes import RegistrationSettings, block_downsample, settings_of_part
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
from registration.slides.formats import SUFFIXES
from registration.stains import pair_doubt
from registration.start.choose import InitialAlignment
from registration.start.scale import scale_doubt
from registration.tissue import TissueMap
from registration.transforms import Chain, DisplacementField

TIMINGS_NAME = "timings.json"
KEY_VERSION = 12
"""Raised when the algorithm changes, so that results of an older one are not taken up again."""


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
    job = Job(pair, folder, settings, options, workers, progress, key)
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


def _register(job: Job) -> Registration:
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


def _start(job: Job, tissue: TissueMap) -> InitialAlignment | PiecePlan:
    """Return the start of the slide, or of its pieces, which the paper's recipe cannot serve."""
    options = job.options
    try:
        start = choose_starts(job.pair, options.landmarks, job.folder, tissue, options.drawn)
    except StartError as error:
        doubt = scale_doubt(job.pair) if error.picking_helps else None
        if doubt is None:
            raise
        raise StartError(f"{error}. {doubt[0].upper()}{doubt[1:]}", error.evidence) from error
    if job.settings.recipe == "paper" and isinstance(start, PiecePlan):
        raise SettingsError(
            f"{job.pair.fixed_slide.path} shows pieces that no single alignment serves; the paper's "
            "recipe has one for the whole slide: leave out --recipe paper"
        )
    return start


def _whole(job: Job, start: InitialAlignment, tissue: TissueMap) -> Registration:
    """Register the slide as one piece."""
    part = Part(job, start.transform, tissue)
    [coarse] = coarse_fields(job, [part])
    chain, records, quality, places = _measured(part, coarse, job.options.truth)
    verdict, reasons = _doubted(verdict_of(quality, records, start.record.verified), job.pair)
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


def _in_pieces(job: Job, plan: PiecePlan) -> Registration:
    """Register each piece on its own and join the results."""
    pair, truth = job.pair, job.options.truth
    parts = [_part(job, plan, piece) for piece in plan.planned]
    results = [
        result_on_slides(piece, *_measured(part, coarse, None))
        for piece, part, coarse in zip(plan.planned, parts, coarse_fields(job, parts), strict=True)
    ]
    chain = map_of(plan, results, pair)
    results = scored(results, chain, pair, truth)
    verdict, reasons = _doubted(verdict_of_pieces(results, plan, pair.moving), pair)
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


def _doubted(found: tuple[Verdict, list[str]], pair: SlidePair) -> tuple[Verdict, list[str]]:
    """Return a verdict after what the slides themselves make doubtful: stains, and scales if it fails."""
    verdict, reasons = with_doubt(found, pair_doubt(pair))
    return with_doubt((verdict, reasons), scale_doubt(pair) if verdict == "fail" else None)


def _part(job: Job, plan: PiecePlan, piece: PlannedPiece) -> Part:
    """Return a piece as if its parts were the slides."""
    fixed, moving = piece.fixed.slide, piece.moving.slide
    he, ihc = (moving, fixed) if job.pair.moving == "he" else (fixed, moving)
    count, before = len(plan.planned), piece.number - 1

    def progress(stage: str, done: int, total: int) -> None:
        job.progress(stage, before * total + done, count * total)

    tissue, whole = TissueMap.of(fixed), job.pair.fixed_slide.size
    finer = block_downsample(whole, fixed.mpp) / block_downsample(tissue.extent, fixed.mpp)
    own = replace(
        job,
        pair=SlidePair(he, ihc, job.pair.moving),
        settings=settings_of_part(job.settings, fixed.size, whole, finer),
        progress=progress,
        prefix=f"piece_{piece.number}_",
        extent=tissue.extent,
        pieces=count,
    )
    return Part(own, piece.start.transform, tissue)


def _measured(
    part: Part, coarse: DisplacementField | None, truth: Landmarks | None
) -> tuple[Chain, list[BlockRecord], Quality, ResidualMap]:
    """Run the pass of blocks and measure what it reaches."""
    job = part.job
    field_, records = nonrigid(part, coarse)
    chain = Chain((field_, part.start))
    with job.timed("quality"):
        stages = Stages(job.pair, part.start, chain, part.grid, part.tissue, job.pieces)
        quality, places = measure(stages, truth, job.workers, job.progress)
    return chain, with_confirmed(records, places), quality, places


def _image(job: Job, chain: Chain) -> str | None:
    """Write the registered slide and return its name, where one is wanted."""
    if job.options.image is None:
        return None
    with job.timed("image"):
        name = f"registered{SUFFIXES[job.options.image]}"
        path = job.folder / name
        write_image(job.pair, chain, path, job.options.image, job.workers, job.progress)
    return name


def _inputs(job: Job) -> dict[str, Any]:
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
