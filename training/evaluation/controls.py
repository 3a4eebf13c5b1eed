"""Images that know nothing, or only blur: what a score is worth is seen beside theirs.

PSNR and SSIM reward blur. A blurred copy of the real image is no stain transfer at all, the mean
training image ignores its input, and the H&E image itself is what "doing nothing" scores. The real
image moved by half has the right amounts in the wrong places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.images import Pixels
from training.data.pairs import PatchPair
from training.evaluation.scoring import Candidate
from training.evaluation.summary import REAL

BLUR_SIGMAS_PX = (2.0, 4.0, 8.0)
MEAN_OF_AT_MOST = 200


@dataclass(frozen=True, eq=False)
class MeanImage:
    """The mean of many real images, and in words what it is the mean of.

    ``total`` is the float64 sum of ``count`` images, ``(H, W, 3)``; one pixel each where they have
    more than one size. ``members`` names those that are evaluated too, and do not count for
    themselves.
    """

    total: NDArray[np.float64]
    count: int
    members: frozenset[str]
    note: str

    def beside(self, pair: PatchPair, real: Pixels) -> Pixels:
        """Return the mean of all images but ``real``, uint8 of its shape."""
        total, count = self.total, self.count
        if pair.name in self.members and count > 1:
            total, count = total - _fitted(real, total.shape), count - 1
        mean = _fitted(total / count, real.shape)
        return np.asarray(np.broadcast_to(np.rint(mean), real.shape), np.uint8)


def control_candidates(
    train: Sequence[PatchPair],
    evaluated: Sequence[PatchPair],
    view: Callable[[Pixels], Pixels] = lambda pixels: pixels,
) -> tuple[Candidate, ...]:
    """Return the controls: blurred copies of the real image, the mean image, the H&E itself.

    ``view`` is what images go through before they are scored. Raises
    :class:`training.errors.DataError` for unreadable images.
    """
    mean = mean_image(train, evaluated, view)
    return (
        *(_blur_control(sigma) for sigma in BLUR_SIGMAS_PX),
        Candidate("mean", "mean image", mean.note, lambda pair, _, real: mean.beside(pair, real)),
        Candidate("he", "H&E itself", "nothing is changed", lambda _, he, __: he),
        *real_candidates(),
    )


def real_candidates() -> tuple[Candidate, ...]:
    """Return the real image itself, for its amounts alone, and moved where nothing lies in its place."""
    return (
        Candidate(
            "moved",
            "real, moved",
            "the real image, moved by half its width and height: the right amounts in wrong places, "
            "which is what stained areas and nuclei have in common by chance",
            lambda _, __, real: moved(real),
            without=("shift",),
        ),
        Candidate(
            REAL,
            "real itself",
            "what the real images show: the amounts of stain, and how far these agree with the label",
            lambda _, __, real: real,
            without=("pixels", "shift", "stain", "shapes"),
        ),
    )


def _blur_control(sigma_px: float) -> Candidate:
    """Return the control that blurs the real image."""
    return Candidate(
        f"blur{sigma_px:g}",
        f"real, blurred {sigma_px:g} px",
        f"the real image itself, blurred with a Gaussian of sigma {sigma_px:g} px: it shows what "
        "each metric makes of images without detail",
        lambda _, __, real: blurred(real, sigma_px),
    )


def moved(image: Pixels) -> Pixels:
    """Return ``(H, W, 3)`` pixels moved by half of both sides; what leaves comes in opposite."""
    return np.roll(image, (image.shape[0] // 2, image.shape[1] // 2), axis=(0, 1))


def blurred(image: Pixels, sigma_px: float) -> Pixels:
    """Return uint8 ``(H, W, 3)`` blurred with a Gaussian of ``sigma_px``, borders mirrored."""
    smooth = cv2.GaussianBlur(
        image.astype(np.float32), (0, 0), sigmaX=sigma_px, borderType=cv2.BORDER_REFLECT_101
    )
    return np.asarray(np.rint(smooth), np.uint8)


def mean_image(
    train: Sequence[PatchPair],
    evaluated: Sequence[PatchPair],
    view: Callable[[Pixels], Pixels] = lambda pixels: pixels,
) -> MeanImage:
    """Return the pixel-wise mean of the real training images, at most 200 spread over them.

    Without training pairs it is the mean of the evaluated images, each of which leaves itself out.
    Raises :class:`training.errors.DataError` for unreadable images.
    """
    source = train or evaluated
    chosen = source[:: -(-len(source) // MEAN_OF_AT_MOST)]
    sums: dict[tuple[int, ...], NDArray[np.float64]] = {}
    for pair in chosen:
        real = view(pair.ihc.read())
        sums[real.shape] = sums.get(real.shape, np.zeros(real.shape)) + real
    total = next(iter(sums.values()))
    if len(sums) > 1:
        total = np.sum([_fitted(part, (1, 1, 3)) for part in sums.values()], axis=0)
    what = "mean" if len(sums) == 1 else "mean colour"
    count = f"{len(chosen):,} of the" if len(chosen) < len(source) else "the"
    origin = "training images" if train else "evaluated images, itself left out"
    return MeanImage(
        total,
        len(chosen),
        frozenset() if train else frozenset(pair.name for pair in chosen),
        f"{what} of {count} {len(source):,} {origin}",
    )


def _fitted(image: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an image of that shape as it is, any other as its mean colour, ``(1, 1, 3)``."""
    return image if image.shape == shape else image.mean(axis=(0, 1), keepdims=True)
