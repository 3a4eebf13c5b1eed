"""Score generated images against real ones, beside controls, per HER2 level, with intervals.

Everything here takes pairs of a dataset and *candidates*: functions that make an image out of a
pair. A model, a folder of generated images and the controls are all candidates, and all are
scored by the same lines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from registration.files.her2 import HER2_LEVELS
from training.data.ahead import in_order
from training.data.images import Pixels, to_batch
from training.data.pairs import Pair
from training.errors import DataError
from training.metrics.features import Features, Lpips, fid, kid
from training.metrics.intervals import (
    Interval,
    image_draws,
    mean_interval,
    percentiles,
    resampled_by_patient,
)
from training.metrics.published import SSIM_WINDOW, psnr, ssim
from training.metrics.shift import shift_scores
from training.metrics.stain import stain_scores
from training.settings.evaluate import Protocol

MODEL = "model"
ALL_LEVELS = "all"
READ_AHEAD = 2
MOST_SCORERS = 8


@dataclass(frozen=True, slots=True)
class Metric:
    """What is measured: its name, unit, direction and what it tells, in plain words."""

    key: str
    label: str
    unit: str
    better: Literal["higher", "lower", "zero"]
    digits: int
    meaning: str


METRICS = (
    Metric("psnr", "PSNR", "dB", "higher", 2, "pixel by pixel agreement; rewards blur"),
    Metric("ssim", "SSIM", "", "higher", 3, "agreement of local structure; rewards blur too"),
    Metric("psnr_shift", "PSNR, shift allowed", "dB", "higher", 2, "the same at the best offset"),
    Metric("ssim_shift", "SSIM, shift allowed", "", "higher", 3, "the same at the best offset"),
    Metric("dab_error", "DAB error", "OD", "lower", 3, "mean difference in brown per pixel"),
    Metric("dab_bias", "DAB bias", "OD", "zero", 3, "too brown (+) or too pale (-) overall"),
    Metric("dab_correlation", "DAB correlation", "", "higher", 3, "whether the brown is in place"),
    Metric("dab_histogram", "DAB histogram", "OD", "lower", 3, "whether the amounts are right"),
    Metric("dab_dice", "DAB Dice", "", "higher", 3, "overlap of the stained areas"),
    Metric("lpips", "LPIPS", "", "lower", 3, "difference as a trained network sees it"),
    Metric("fid", "FID", "", "lower", 1, "realism of the set of images; needs many of them"),
    Metric("kid", "KID", "", "lower", 4, "the same, without FID's bias for small sets"),
)
OFFICIAL_METRICS = ("psnr", "ssim")
SET_METRICS = ("fid", "kid")


@dataclass(frozen=True)
class Candidate:
    """Something that makes an IHC image: the model, or a control.

    ``make(pair, he, real)`` takes and returns ``(H, W, 3)`` uint8; only controls look at ``real``.
    """

    key: str
    label: str
    note: str
    make: Callable[[Pair, Pixels, Pixels], Pixels]


@dataclass(frozen=True)
class Scoring:
    """What is measured, on which device, and what both images go through first."""

    protocol: Protocol = "full"
    shift_px: int = 8
    device: str = "cpu"
    lpips: Lpips | None = None
    features: Features | None = None
    view: Callable[[Pixels], Pixels] = field(default=lambda pixels: pixels)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that this scoring yields, in the order of the report."""
        absent = set()
        if self.protocol == "official":
            absent = {metric.key for metric in METRICS} - set(OFFICIAL_METRICS)
        if self.lpips is None:
            absent.add("lpips")
        if self.features is None:
            absent |= set(SET_METRICS)
        return tuple(metric for metric in METRICS if metric.key not in absent)


@dataclass(frozen=True)
class Evaluation:
    """Scores of every candidate on every image, and their means.

    ``values[candidate][metric]`` is float64 ``(images,)``, in the order of ``pairs``;
    ``intervals`` is keyed by candidate, HER2 level (or ``all``) and metric; ``differences`` by
    control and metric: the model minus the control, image by image.
    """

    pairs: tuple[Pair, ...]
    candidates: tuple[Candidate, ...]
    metrics: tuple[Metric, ...]
    values: dict[str, dict[str, NDArray[np.float64]]]
    intervals: dict[tuple[str, str, str], Interval]
    differences: dict[tuple[str, str], Interval]

    @property
    def levels(self) -> tuple[str, ...]:
        """``all``, then the HER2 levels that occur."""
        return (ALL_LEVELS, *her2_levels(self.pairs))

    @property
    def by_patient(self) -> bool:
        """Whether the intervals come from resampling patients rather than images."""
        return resampled_by_patient([pair.patient for pair in self.pairs])


def evaluate(
    pairs: Sequence[Pair],
    candidates: Sequence[Candidate],
    scoring: Scoring,
    on_image: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Score every candidate on every pair; the first candidate is the model.

    ``on_image`` is told how many images are done. Raises :class:`DataError` for no pairs, an
    unreadable image, and a generated image of another size than the real one.
    """
    if not pairs:
        raise DataError("there are no pairs to evaluate")
    rows: dict[str, list[dict[str, float]]] = {candidate.key: [] for candidate in candidates}
    features: dict[str, list[Tensor]] = {}
    for number, made in enumerate(_made(pairs, candidates, scoring)):
        for key, scores in made.scores.items():
            rows[key].append(scores.result())
        if scoring.features:
            for key, image in made.images.items():
                features.setdefault(key, []).append(scoring.features(image).cpu())
        on_image(number + 1)
    values = {
        key: {name: np.array([row[name] for row in scored]) for name in scored[0]}
        for key, scored in rows.items()
    }
    intervals = _intervals(pairs, values)
    intervals |= _set_intervals(pairs, {key: torch.cat(rows) for key, rows in features.items()})
    return Evaluation(
        tuple(pairs),
        tuple(candidates),
        scoring.metrics,
        values,
        intervals,
        _differences(pairs, values),
    )


@dataclass(frozen=True)
class _Made:
    """One pair: its real image, every candidate's, and their scores as soon as they are known."""

    images: dict[str, Tensor]
    scores: dict[str, Future[dict[str, float]]]


@contextmanager
def _scorers() -> Iterator[ThreadPoolExecutor]:
    """Give threads that compute alone: small operations gain little from being divided."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(
            min(threads, MOST_SCORERS), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)  # or else new threads would take over what those set


def _made(
    pairs: Sequence[Pair], candidates: Sequence[Candidate], scoring: Scoring
) -> Iterator[_Made]:
    """Yield every pair in order; the next ones are read, made and scored meanwhile.

    This thread makes the candidates' images, others read and score.
    """
    with _scorers() as pool:
        ahead: deque[_Made] = deque()
        images = in_order(pool, lambda pair: pair.read(), pairs, READ_AHEAD)
        for pair, read in zip(pairs, images, strict=True):
            he, real = (scoring.view(image) for image in read)
            _check_size(real, pair, scoring)
            made = _Made({"real": _tensor(real, scoring)}, {})
            for candidate in candidates:
                fake = _same_size(candidate.make(pair, he, real), real, pair, candidate)
                image = made.images[candidate.key] = _tensor(fake, scoring)
                made.scores[candidate.key] = pool.submit(
                    _score, made.images["real"], image, scoring
                )
            ahead.append(made)
            if len(ahead) > READ_AHEAD:
                yield ahead.popleft()
        yield from ahead


def her2_levels(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return the HER2 levels of the pairs, 0 to 3+ first; empty where none is known."""
    found = {pair.her2 for pair in pairs if pair.her2 is not None}
    return (*(level for level in HER2_LEVELS if level in found), *sorted(found - {*HER2_LEVELS}))


def _score(real: Tensor, fake: Tensor, scoring: Scoring) -> dict[str, float]:
    """Return every per-image metric of one pair of ``(1, 3, H, W)`` images."""
    scores = {"psnr": psnr(real, fake), "ssim": ssim(real, fake)}
    if scoring.protocol == "full":
        shifted = shift_scores(real, fake, scoring.shift_px)
        stain = stain_scores(real, fake)
        scores |= {
            "psnr_shift": shifted.psnr,
            "ssim_shift": shifted.ssim,
            "dab_error": stain.error,
            "dab_bias": stain.bias,
            "dab_correlation": stain.correlation,
            "dab_histogram": stain.histogram,
            "dab_dice": stain.dice,
        }
    if scoring.lpips is not None:
        scores["lpips"] = scoring.lpips(real, fake)
    return {key: float(value) for key, value in scores.items()}


def _intervals(
    pairs: Sequence[Pair], values: dict[str, dict[str, NDArray[np.float64]]]
) -> dict[tuple[str, str, str], Interval]:
    """Return the mean of every metric of every candidate, overall and per HER2 level."""
    patients = [pair.patient for pair in pairs]
    found = {}
    for level, chosen in _members(pairs).items():
        for key, metrics in values.items():
            for name, scores in metrics.items():
                found[key, level, name] = mean_interval(
                    scores[chosen], [patients[index] for index in chosen]
                )
    return found


def _differences(
    pairs: Sequence[Pair], values: dict[str, dict[str, NDArray[np.float64]]]
) -> dict[tuple[str, str], Interval]:
    """Return the model minus each control, paired by image; empty without a model."""
    patients = [pair.patient for pair in pairs]
    return {
        (key, name): mean_interval(_minus(values[MODEL][name], scores), patients)
        for key, metrics in values.items()
        if MODEL in values and key != MODEL
        for name, scores in metrics.items()
    }


def _minus(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``a - b``, 0 where both are the same infinity (two identical images)."""
    same = a == b
    return np.where(same, 0.0, np.subtract(a, b, where=~same, out=np.zeros_like(a)))


def _set_intervals(
    pairs: Sequence[Pair], features: dict[str, Tensor]
) -> dict[tuple[str, str, str], Interval]:
    """Return FID and KID of every candidate, overall and per HER2 level.

    FID has no interval: a bootstrap of it is biased upwards.
    """
    found: dict[tuple[str, str, str], Interval] = {}
    patients = [pair.patient for pair in pairs]
    for level, chosen in _members(pairs).items() if features else ():
        real = features["real"][chosen]
        drawn, units = image_draws([patients[index] for index in chosen])
        for key in features.keys() - {"real"}:
            fake = features[key][chosen]
            distance, kernel = fid(real, fake), float(kid(real, fake))
            low, high = np.nan, np.nan
            if units > 1:
                spread = kid(real, fake, torch.from_numpy(drawn))
                low, high = percentiles(spread[spread.isfinite()].numpy())
            found[key, level, "fid"] = Interval(distance, np.nan, np.nan, len(chosen), units)
            found[key, level, "kid"] = Interval(kernel, low, high, len(chosen), units)
    return found


def _members(pairs: Sequence[Pair]) -> dict[str, list[int]]:
    """Return the numbers of the pairs of each level, all of them first."""
    levels = {ALL_LEVELS: list(range(len(pairs)))}
    for level in her2_levels(pairs):
        levels[level] = [number for number, pair in enumerate(pairs) if pair.her2 == level]
    return levels


def _tensor(pixels: Pixels, scoring: Scoring) -> Tensor:
    """Return ``(1, 3, H, W)`` on the device."""
    return to_batch(pixels).to(scoring.device)


def _check_size(real: Pixels, pair: Pair, scoring: Scoring) -> None:
    """Raise :class:`DataError` where an image is too small to be scored."""
    reach = scoring.shift_px if scoring.protocol == "full" else 0
    least = SSIM_WINDOW + 2 * reach
    if min(real.shape[:2]) < least:
        raise DataError(
            f"{pair.ihc.path} has {real.shape[1]} x {real.shape[0]} px; SSIM with shifts of up to "
            f"{reach} px needs at least {least} x {least}"
        )


def _same_size(fake: Pixels, real: Pixels, pair: Pair, candidate: Candidate) -> Pixels:
    """Return ``fake``, or say why it cannot be compared with ``real``."""
    if fake.shape != real.shape:
        raise DataError(
            f"{pair.name}: {candidate.label} gives {fake.shape[1]} x {fake.shape[0]} px, the real "
            f"image has {real.shape[1]} x {real.shape[0]} px; they must be the same"
        )
    return fake
