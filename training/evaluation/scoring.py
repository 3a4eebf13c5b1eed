"""Score generated images against real ones, beside controls, per HER2 level, with intervals.

Everything here takes pairs of a dataset and *candidates*: functions that make an image out of a
pair. A model, a folder of generated images and the controls are all candidates, and all are
scored by the same lines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from registration.files.her2 import HER2_LEVELS
from training.data.ahead import in_order
from training.data.images import Pixels, to_batch
from training.data.pairs import PatchPair
from training.errors import DataError
from training.evaluation.measures import METRICS, OFFICIAL_METRICS, SET_METRICS, Group, Metric
from training.evaluation.score_record import ScoreRecord, Scores
from training.evaluation.summary import (
    ALL_LEVELS,
    REAL,
    Values,
    agreement_intervals,
    differences,
    her2_levels,
    mean_intervals,
    set_intervals,
    undefined_intervals,
)
from training.metrics.features import Features, Lpips
from training.metrics.intervals import (
    Interval,
    resampled_by_patient,
)
from training.metrics.pathology import (
    FindNuclei,
    PathologyCounts,
    PathologyScores,
    Stained,
    pathology_scores,
)
from training.metrics.published import SSIM_WINDOW, Windows, mean_similarity, psnr
from training.metrics.shift import ShiftSearch
from training.metrics.stain import dab_density, density_scores
from training.settings.evaluate import Protocol

STAIN_SCORES = ("error", "bias", "correlation", "histogram", "dice")
ASSUMED_MPP = 0.46
"""µm per pixel of images of which nothing is known: BCI's."""

READ_AHEAD = 2
MOST_SCORERS = 8


@dataclass(frozen=True)
class Candidate:
    """Something that makes an IHC image: the model, or a control.

    ``make(pair, he, real)`` takes and returns ``(H, W, 3)`` uint8; only controls look at ``real``.
    """

    key: str
    label: str
    note: str
    make: Callable[[PatchPair, Pixels, Pixels], Pixels]
    without: tuple[Group, ...] = ()
    """Metrics that say nothing of it, and are not measured."""


@dataclass(frozen=True)
class Scoring:
    """What is measured, on which device, and what both images go through first."""

    protocol: Protocol = "full"
    shift_px: int = 8
    device: str = "cpu"
    lpips: Lpips | None = None
    features: Features | None = None
    nuclei: FindNuclei | None = None
    mpp: float = ASSUMED_MPP
    view: Callable[[Pixels], Pixels] = field(default=lambda pixels: pixels)

    def metrics(self, pairs: Sequence[PatchPair]) -> tuple[Metric, ...]:
        """Return the metrics that this scoring yields of some pairs, in the order of the report."""
        absent = set()
        if self.protocol == "official":
            absent = {metric.key for metric in METRICS} - set(OFFICIAL_METRICS)
        if self.lpips is None:
            absent.add("lpips")
        if self.features is None:
            absent |= set(SET_METRICS)
        if self.nuclei is None:
            absent |= {metric.key for metric in METRICS if metric.key.startswith("nuclei_")}
        labelled = [pair for pair in pairs if pair.her2 in HER2_LEVELS]
        if not labelled:
            absent |= {"her2_right", "her2_kappa"}
        if not resampled_by_patient([pair.patient for pair in labelled]):
            absent.add("her2_kappa_patients")
        return tuple(metric for metric in METRICS if metric.key not in absent)


@dataclass(frozen=True)
class Evaluation:
    """Scores of every candidate on every image, and their means.

    ``values[candidate][metric]`` is float64 ``(images,)``, in the order of ``pairs``;
    ``intervals`` is keyed by candidate, HER2 level (or ``all``) and metric; ``differences`` by
    control and metric: the model minus the control, image by image.
    """

    pairs: tuple[PatchPair, ...]
    candidates: tuple[Candidate, ...]
    metrics: tuple[Metric, ...]
    values: Values
    intervals: dict[tuple[str, str, str], Interval]
    differences: dict[tuple[str, str], Interval]
    counts: dict[str, tuple[PathologyCounts, ...]]
    """``counts[candidate]`` of every image; without candidates where none were counted."""

    @property
    def levels(self) -> tuple[str, ...]:
        """``all``, then the HER2 levels that occur."""
        return (ALL_LEVELS, *her2_levels(self.pairs))

    @property
    def by_patient(self) -> bool:
        """Whether the intervals come from resampling patients rather than images."""
        return resampled_by_patient([pair.patient for pair in self.pairs])


def evaluate(
    pairs: Sequence[PatchPair],
    candidates: Sequence[Candidate],
    scoring: Scoring,
    on_image: Callable[[int], None] = lambda done: None,
    record: ScoreRecord | None = None,
) -> Evaluation:
    """Score every candidate on every pair; the first candidate is the model.

    ``on_image`` is told how many images are done; images that ``record`` holds are not scored again,
    which does not go with FID and KID. Raises :class:`DataError` for no pairs, an
    unreadable image, and a generated image of another size than the real one.
    """
    if not pairs:
        raise DataError("there are no pairs to evaluate")
    metrics = scoring.metrics(pairs)
    rows: dict[str, list[Scores]] = {candidate.key: [] for candidate in candidates}
    features: dict[str, list[Tensor]] = {}
    known = {} if record is None else record.known
    waiting = [pair for pair in pairs if pair.name not in known]
    with closing(_made(waiting, candidates, scoring)) as fresh:
        for number, pair in enumerate(pairs):
            if pair.name in known:
                for key, kept in known[pair.name].items():
                    rows[key].append(kept)
                on_image(number + 1)
                continue
            made = next(fresh)
            scored = {key: scores.result() for key, scores in made.scores.items()}
            if record is not None:
                record.add(pair.name, scored)
            for key, own in scored.items():
                rows[key].append(own)
            if scoring.features:
                for key, image in made.images.items():
                    features.setdefault(key, []).append(scoring.features(image).cpu())
            on_image(number + 1)
    named = [m.key for m in metrics if m.group not in ("set", "agreement")]
    values = {
        key: {name: np.array([row.values.get(name, np.nan) for row in scored]) for name in named}
        for key, scored in rows.items()
    }
    counts = _counts(rows)
    intervals = undefined_intervals(pairs, list(values), metrics)
    intervals |= mean_intervals(pairs, values)
    intervals |= set_intervals(pairs, {key: torch.cat(rows) for key, rows in features.items()})
    intervals |= agreement_intervals(pairs, counts)
    return Evaluation(
        tuple(pairs),
        tuple(candidates),
        metrics,
        values,
        intervals,
        differences(pairs, values),
        counts,
    )


@dataclass(frozen=True, eq=False)
class _Image:
    """One image as it is scored, with what several figures, and of a real image all candidates, need."""

    tensor: Tensor
    """``(1, 3, H, W)`` on the device."""
    pixels: Pixels
    mpp: float
    scoring: Scoring

    @cached_property
    def windows(self) -> Windows:
        """What SSIM needs."""
        return Windows.of(self.tensor[0])

    @cached_property
    def search(self) -> ShiftSearch:
        """What the search of the best offset needs of a real image."""
        return ShiftSearch(self.windows, self.scoring.shift_px)

    @cached_property
    def density(self) -> Tensor:
        """Of DAB, ``(1, H, W)``."""
        return dab_density(self.tensor)

    @cached_property
    def stained(self) -> Stained:
        """What pathology looks at."""
        find = self.scoring.nuclei
        nuclei = None if find is None else find(self.pixels, self.mpp)
        on_cpu = (
            self.density
            if self.density.device.type == "cpu"
            else dab_density(to_batch(self.pixels))
        )
        return Stained.of(on_cpu[0].numpy(), nuclei)

    def looked_at(self) -> Self:
        """Find out what is needed of a real image, before several threads ask for it."""
        full = self.scoring.protocol == "full"
        for name in ("search", "density", "stained") if full else ("windows",):
            getattr(self, name)
        return self


@dataclass(frozen=True)
class _Made:
    """One pair: its real image, every candidate's, and their scores as soon as they are known."""

    images: dict[str, Tensor]
    scores: dict[str, Future[Scores]]


@contextmanager
def _scorers() -> Iterator[ThreadPoolExecutor]:
    """Give threads that compute alone: small operations gain little from being divided."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(
            min(threads, MOST_SCORERS), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            try:
                yield pool
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # nobody waits for it any more
    finally:
        torch.set_num_threads(threads)  # or else new threads would take over what those set


def _made(
    pairs: Sequence[PatchPair], candidates: Sequence[Candidate], scoring: Scoring
) -> Generator[_Made]:
    """Yield every pair in order; the next ones are read, made and scored meanwhile.

    This thread makes the candidates' images, others read and score.
    """
    with _scorers() as pool:
        ahead: deque[_Made] = deque()
        images = in_order(pool, lambda pair: pair.read(), pairs, READ_AHEAD)
        for pair, read in zip(pairs, images, strict=True):
            he, real = (scoring.view(image) for image in read)
            _check_size(real, pair, scoring)
            truth = _Image(_tensor(real, scoring), real, pair.mpp or scoring.mpp, scoring)
            looked_at = pool.submit(truth.looked_at)
            made = _Made({REAL: truth.tensor}, {})
            for candidate in candidates:
                fake = _same_size(candidate.make(pair, he, real), real, pair, candidate)
                image = _Image(_tensor(fake, scoring), fake, truth.mpp, scoring)
                made.images[candidate.key] = image.tensor
                made.scores[candidate.key] = pool.submit(
                    _score, candidate, pair.her2, looked_at, image
                )
            ahead.append(made)
            if len(ahead) > READ_AHEAD:
                yield ahead.popleft()
        yield from ahead


def _score(
    candidate: Candidate, her2: str | None, looked_at: Future[_Image], fake: _Image
) -> Scores:
    """Return every per-image metric of one pair."""
    real = looked_at.result()
    x, y, without, scoring = real.tensor, fake.tensor, candidate.without, fake.scoring
    scores: dict[str, Tensor | float] = {}
    if "pixels" not in without:
        scores |= {"psnr": psnr(x, y), "ssim": mean_similarity(real.windows, fake.windows)}
        if scoring.lpips is not None:
            scores["lpips"] = scoring.lpips(x, y)
    if scoring.protocol == "official":
        return Scores({key: float(value) for key, value in scores.items()})
    if "shift" not in without:
        scores["psnr_shift"], scores["ssim_shift"], _ = real.search.best(fake.windows)
    if "stain" not in without:
        stain = density_scores(real.density, fake.density)
        scores |= {f"dab_{name}": getattr(stain, name) for name in STAIN_SCORES}
    seen = real.stained
    found = pathology_scores(seen, seen if fake.pixels is real.pixels else fake.stained, real.mpp)
    if "shapes" not in without:
        scores |= _shapes(found)
    scores |= _amounts(found.counts, her2)
    return Scores({key: float(value) for key, value in scores.items()}, found.counts)


def _shapes(found: PathologyScores) -> dict[str, float]:
    """Return the figures of stained areas and nuclei."""
    return {
        "dab_iou": found.counts.iou,
        "dab_hausdorff": found.hausdorff_um,
        "dab_hausdorff95": found.hausdorff95_um,
        "nuclei_kept": found.counts.kept,
        "nuclei_invented": found.counts.invented,
        "nuclei_offset": found.nuclei_offset_um,
    }


def _amounts(counts: PathologyCounts, her2: str | None) -> dict[str, float]:
    """Return how much is stained, and whether that gives the level of the label."""
    right = float(HER2_LEVELS[counts.level] == her2) if her2 in HER2_LEVELS else np.nan
    return {"h_score": counts.h_score, "positive": counts.positive, "her2_right": right}


def _counts(rows: dict[str, list[Scores]]) -> dict[str, tuple[PathologyCounts, ...]]:
    """Return what was counted of every candidate's images."""
    return {
        key: tuple(row.counts for row in scored if row.counts is not None)
        for key, scored in rows.items()
        if scored[0].counts is not None
    }


def _tensor(pixels: Pixels, scoring: Scoring) -> Tensor:
    """Return ``(1, 3, H, W)`` on the device."""
    return to_batch(pixels).to(scoring.device)


def _check_size(real: Pixels, pair: PatchPair, scoring: Scoring) -> None:
    """Raise :class:`DataError` where an image is too small to be scored."""
    reach = scoring.shift_px if scoring.protocol == "full" else 0
    least = SSIM_WINDOW + 2 * reach
    if min(real.shape[:2]) < least:
        raise DataError(
            f"{pair.ihc.path} has {real.shape[1]} x {real.shape[0]} px; SSIM with shifts of up to "
            f"{reach} px needs at least {least} x {least}"
        )


def _same_size(fake: Pixels, real: Pixels, pair: PatchPair, candidate: Candidate) -> Pixels:
    """Return ``fake``, or say why it cannot be compared with ``real``."""
    if fake.shape != real.shape:
        raise DataError(
            f"{pair.name}: {candidate.label} gives {fake.shape[1]} x {fake.shape[0]} px, the real "
            f"image has {real.shape[1]} x {real.shape[0]} px; they must be the same"
        )
    return fake
