"""The worst, the median and the best images of an evaluation, as pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from registration.files.pictures import jpeg_uri
from training.data.images import Pixels, to_batch
from training.data.pairs import PatchPair
from training.evaluation.measures import Metric
from training.evaluation.scoring import Evaluation, Scoring
from training.evaluation.summary import MODEL
from training.metrics.stain import HIGHEST_DENSITY, dab_density

CASES_OF_A_KIND = 3
DIFFERENCE_RANGE = 0.5
"""DAB densities at which the difference picture is fully blue or fully brown."""

_SHOWN_PX = 480
_TOO_PALE = np.array([33, 102, 172], np.float64)
_TOO_BROWN = np.array([140, 70, 10], np.float64)


@dataclass(frozen=True)
class ScoredCase:
    """One image of the report: why it is shown, its pair, and four pictures as data URIs."""

    kind: str
    number: int
    pair: PatchPair
    he: str
    real: str
    generated: str
    difference: str


def case_metric(evaluation: Evaluation) -> Metric:
    """Return the metric that ranks the cases: the DAB error where it was measured, else SSIM."""
    by_key = {metric.key: metric for metric in evaluation.metrics}
    return by_key.get("dab_error") or by_key["ssim"]


def pick_cases(evaluation: Evaluation) -> list[tuple[str, int]]:
    """Return kind and number of up to three worst, median and best images of the model."""
    metric = case_metric(evaluation)
    scores = evaluation.values[MODEL][metric.key]
    order = np.argsort(-scores if metric.better == "lower" else scores, kind="stable").tolist()
    third = min(CASES_OF_A_KIND, max(1, len(order) // 3))
    middle = (len(order) - third) // 2
    parts = (("worst", 0), ("median", middle), ("best", len(order) - third))
    chosen: dict[int, str] = {}
    for kind, start in parts:
        for number in order[start : start + third]:
            chosen.setdefault(number, kind)
    return [(kind, number) for number, kind in chosen.items()]


def draw_cases(evaluation: Evaluation, scoring: Scoring) -> tuple[ScoredCase, ...]:
    """Make the images of the chosen cases once more and draw them."""
    model = next(candidate for candidate in evaluation.candidates if candidate.key == MODEL)
    cases = []
    for kind, number in pick_cases(evaluation):
        pair = evaluation.pairs[number]
        he, real = (scoring.view(image) for image in pair.read())
        fake = model.make(pair, he, real)
        shown = data_uri(he) if pair.he is not pair.ihc else ""  # tiles of a slide have no H&E
        pictures = [shown, *(data_uri(p) for p in (real, fake, dab_difference(real, fake)))]
        cases.append(ScoredCase(kind, number, pair, *pictures))
    return tuple(cases)


def dab_difference(real: Pixels, fake: Pixels) -> Pixels:
    """Return a picture of generated minus real DAB: brown too much, blue too little, white equal."""
    x, y = (dab_density(to_batch(image))[0].clamp_max(HIGHEST_DENSITY) for image in (real, fake))
    excess = np.clip((y - x).numpy() / DIFFERENCE_RANGE, -1, 1)
    colour = np.where(excess[..., None] > 0, _TOO_BROWN, _TOO_PALE)
    strength = np.abs(excess)[..., None]
    return np.asarray(np.rint(255 * (1 - strength) + colour * strength), np.uint8)


def data_uri(pixels: Pixels, shown_px: int = _SHOWN_PX, quality: int = 88) -> str:
    """Return an image, reduced to at most ``shown_px`` a side, as a JPEG data URI."""
    image = Image.fromarray(pixels)
    image.thumbnail((shown_px, shown_px), Image.Resampling.BOX)
    return jpeg_uri(np.asarray(image), quality)
