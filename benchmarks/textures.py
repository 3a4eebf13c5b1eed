"""The one random texture that tests and benchmarks draw on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def smooth_noise(
    random: np.random.Generator, shape: tuple[int, ...], sigma: float
) -> NDArray[np.float64]:
    """Return blobs of about ``sigma`` pixels with a standard deviation of 1.

    ``shape`` is ``(h, w)``, or ``(h, w, c)`` for channels that are independent of each other.
    """
    noise = random.normal(size=shape)
    field = ndimage.gaussian_filter(noise, (sigma, sigma, 0)[: len(shape)])
    return np.asarray(field / field.std())
