"""Run folders whose transform is the truth that drew the slides, and the same spoiled by a known field.

For ``alignment_filter``, ``blank_filter``, ``patch_memory`` and ``patch_truth``: nothing is registered,
so that what is measured is the patch stage alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from registration.figures import Folding, Quality
from registration.files.storage import settings_hash
from registration.geometry import Points, Size
from registration.landmarks.landmarks import Landmarks
from registration.pair import SlidePair
from registration.recipes import RegistrationSettings
from registration.result import Registration, SlideRecord, StartRecord, write_registration
from registration.slides.slide import open_slide
from registration.synth import SynthCase, load_truth
from registration.transforms import Chain, DisplacementField

NODE_UM = 100.0


@dataclass(frozen=True, slots=True)
class Spoiling:
    """A smooth error on top of the truth."""

    seed: int
    most_um: float
    """Largest error; it falls to zero between the bumps."""
    width_um: float
    """Deviation of the Gaussian that smooths its direction and its length."""


def known_run(case: SynthCase, folder: Path, error: DisplacementField | None = None) -> Path:
    """Write a finished registration of ``case``: its truth, after ``error``."""
    truth = load_truth(case.folder)
    chain = truth if error is None else Chain((error, *truth.steps))
    described = [] if error is None else error.coefficients.tolist()
    pair = SlidePair(open_slide(case.he), open_slide(case.ihc))
    key = settings_hash(str(case.folder), described)
    return written_run(pair, chain, folder, key, mirrored=case.settings.mirrored)


def written_run(pair: SlidePair, chain: Chain, folder: Path, key: str, *, mirrored: bool) -> Path:
    """Write a finished registration of ``pair`` that nobody computed."""
    registration = Registration(
        folder=folder,
        key=key,
        he=SlideRecord.of(pair.he),
        ihc=SlideRecord.of(pair.ihc),
        moving="he",
        settings=RegistrationSettings(),
        start=StartRecord("landmarks", True, mirrored, (), {}),
        chain=chain,
        blocks=(),
        quality=Quality(Folding(1.0, 1.0, 1.0, 1.0, 0.0), None, None, 0.0, {}),
        verdict="pass",
        reasons=(),
        image=None,
    )
    folder.mkdir(parents=True, exist_ok=True)
    nothing = np.zeros((0, 2))
    write_registration(registration, Landmarks.of(nothing, nothing))
    return folder


def error_field(size: Size, mpp: float, spoiling: Spoiling) -> DisplacementField:
    """Return a smooth random field whose length runs from 0 to ``most_um`` over the slide."""
    spacing = NODE_UM / mpp
    shape = (int(size.height / spacing) + 5, int(size.width / spacing) + 5)
    rng = np.random.default_rng(spoiling.seed)
    sigma = spoiling.width_um / NODE_UM
    smooth = [
        cv2.GaussianBlur(rng.normal(size=shape), (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        for _ in range(3)
    ]
    ranks = smooth[0].ravel().argsort().argsort().reshape(shape) / (smooth[0].size - 1)
    direction = np.stack(smooth[1:], axis=-1)
    direction /= np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), 1e-9)
    turn = cv2.GaussianBlur(direction, (0, 0), max(sigma / 2, 1.0))
    nodes = spoiling.most_um / mpp * ranks[..., None] * turn
    return DisplacementField.from_nodes((-2 * spacing, -2 * spacing), spacing, nodes)


def lengths_um(error: DisplacementField, points: Points, mpp: float) -> np.ndarray:
    """Return how far ``error`` moves each of ``(N, 2)`` points, µm."""
    return np.asarray(np.hypot(*(error(points) - points).T) * mpp)
