"""The paper's post-processing to the letter: blocks resampled on their own leave gaps to fill.

Each block of the roughly aligned moving slide is registered on its own, without halo and without a
coarse pass, and its transform is applied to the three channels of that block alone (section 3.1).
Where a block shrinks, a black gap opens at its edge; the gaps are filled with surrounding content.
Kept as the reference that the default recipe is measured against.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from registration.geometry import Box, Image, axis_positions
from registration.transforms import SplicedField


def leaves_block(field: SplicedField, box: Box, downsample: float = 1.0) -> NDArray[np.bool_]:
    """Return which pixels of a level's ``box`` are read from outside their own block.

    There the paper's block-wise resampling leaves black.
    """
    xs = axis_positions(box.x, box.width, downsample)
    ys = axis_positions(box.y, box.height, downsample)
    mapped = field.on_grid(xs, ys)
    outside = np.zeros((box.height, box.width), bool)
    for core in field.cores:
        columns, rows = core.columns_and_rows(xs, ys)
        if len(rows) and len(columns):
            part = np.ix_(rows, columns)
            inside = core.contains(mapped[part].reshape(-1, 2))
            outside[part] = ~inside.reshape(len(rows), len(columns))
    return outside


def fill_gaps(image: Image, has_source: NDArray[np.bool_]) -> Image:
    """Fill pixels without a source with the nearest pixel that has one (paper: post-processing)."""
    if has_source.all() or not has_source.any():
        return image
    _, labels = cv2.distanceTransformWithLabels(
        (~has_source).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    sources = np.zeros((int(labels.max()) + 1, 3), np.uint8)
    sources[labels[has_source]] = image[has_source]
    return np.where(has_source[..., None], image, sources[labels])
