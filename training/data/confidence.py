"""How much each pair teaches at each scale of the loss, by what registration says of it.

A pair whose images are ``s`` pixels apart says nothing about details finer than ``s``, and still
tells the truth about what is coarser. Its weight at scale ``i``, where a pixel is ``2**i`` wide, is
``trust / (1 + (s / (tolerance * 2**i))**2)``: one half where the shift equals the tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.data.pairs import PatchPair

GRADE_TRUST = {"gold": 1.0, "silver": 0.5, "bronze": 0.25}
"""What a pair's grade multiplies its trust by where grades weigh; a pair without one keeps it."""


def scale_confidence(
    pairs: Sequence[PatchPair], scales: int, tolerance_px: float, graded: bool = False
) -> NDArray[np.float32] | None:
    """Return weights ``(N, scales)``, scale 0 being the plain L1 loss.

    ``None`` when nothing is known of any pair's alignment. The shift of a pair without one counts
    as the median of the others. ``graded``: grades weigh, too. Weights are scaled to a mean of 1 at
    every scale over the dataset,
    so that the balance between scales, and with the adversarial loss, stays as configured.
    """
    if not alignment_known(pairs):
        return None
    known = [pair.shift_px for pair in pairs if pair.shift_px is not None]
    typical = float(np.median(known)) if known else 0.0
    shifts = np.array([typical if p.shift_px is None else p.shift_px for p in pairs])
    trust = np.array([pair.trust for pair in pairs])
    if graded:
        trust *= [GRADE_TRUST.get(pair.grade or "", 1.0) for pair in pairs]
    tolerance = tolerance_px * 2.0 ** np.arange(scales)
    weights = trust[:, None] / (1 + (shifts[:, None] / tolerance) ** 2)
    scaled: NDArray[np.float32] = (weights / weights.mean(axis=0)).astype(np.float32)
    return scaled


def alignment_known(pairs: Sequence[PatchPair]) -> bool:
    """Return whether anything is known of the alignment of any pair."""
    return any(pair.shift_px is not None or pair.trust != 1.0 for pair in pairs)
