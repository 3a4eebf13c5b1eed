"""Images that know nothing, or only blur: what a score is worth is seen beside theirs.

PSNR and SSIM reward blur. A blurred copy of the real image is no stain transfer at all, the mean
training image ignores its input, and the H&E image itself is what "doing nothing" scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data import Pair
from training.evaluation import Candidate
from training.images import Pixels

BLUR_SIGMAS_PX = (2.0, 4.0, 8.0)
MEAN_OF_AT_MOST = 200


@dataclass(frozen=True)
class MeanImage:
    """The mean of many real images, uint8 ``(H, W, 3)``, and in words what it is the mean of.

    One pixel stands for all where the images have more than one size.
    """

    pixels: Pixels
    note: str

    def sized_like(self, image: Pixels) -> Pixels:
        """Return the mean image where it has the size of ``image``, else its mean colour."""
        if self.pixels.shape == image.shape:
            return self.pixels
        colour = np.rint(self.pixels.mean(axis=(0, 1))).astype(np.uint8)
        return np.broadcast_to(colour, image.shape).copy()


def control_candidates(
    train: Sequence[Pair],
    evaluated: Sequence[Pair],
    view: Callable[[Pixels], Pixels] = lambda pixels: pixels,
) -> tuple[Candidate, ...]:
    """Return the controls: blurred copies of the real image, the mean image, the H&E itself.

    ``view`` is what images go through before they are scored. Raises
    :class:`training.errors.DataError` for unreadable images.
    """
    mean = mean_image(train, evaluated)
    ignorant = MeanImage(view(mean.pixels), mean.note)
    return (
        *(_blur_control(sigma) for sigma in BLUR_SIGMAS_PX),
        Candidate("mean", "mean image", mean.note, lambda _, he, __: ignorant.sized_like(he)),
        Candidate("he", "H&E itself", "nothing is changed", lambda _, he, __: he),
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


def blurred(image: Pixels, sigma_px: float) -> Pixels:
    """Return uint8 ``(H, W, 3)`` blurred with a Gaussian of ``sigma_px``, borders mirrored."""
    smooth = cv2.GaussianBlur(
        image.astype(np.float32), (0, 0), sigmaX=sigma_px, borderType=cv2.BORDER_REFLECT_101
    )
    return np.asarray(np.rint(smooth), np.uint8)


def mean_image(train: Sequence[Pair], evaluated: Sequence[Pair]) -> MeanImage:
    """Return the pixel-wise mean of the real training images, at most 200 spread over them.

    Without training pairs it is the mean of the evaluated images themselves, which is generous to
    the control; the note says so. Raises :class:`training.errors.DataError` for unreadable images.
    """
    source = train or evaluated
    chosen = source[:: -(-len(source) // MEAN_OF_AT_MOST)]
    sums: dict[tuple[int, ...], NDArray[np.float64]] = {}
    colours = []
    for pair in chosen:
        real = pair.ihc.read()
        sums[real.shape] = sums.get(real.shape, np.zeros(real.shape)) + real
        colours.append(real.mean(axis=(0, 1)))
    if len(sums) == 1:
        mean, what = next(iter(sums.values())) / len(chosen), "mean"
    else:
        mean, what = np.mean(colours, axis=0)[None, None], "mean colour"
    count = f"{len(chosen):,} of the" if len(chosen) < len(source) else "the"
    origin = "training images" if train else "evaluated images themselves, for want of others"
    return MeanImage(np.rint(mean).astype(np.uint8), f"{what} of {count} {len(source):,} {origin}")
