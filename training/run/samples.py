"""Sample sheets: H&E, real IHC and generated IHC side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.data.images import Pixels, write_png

CELL_PX = 256
GAP_PX = 6
HEADER_PX = 22
TITLES = ("H&E", "real IHC", "generated IHC")
INK, PAPER = (40, 40, 40), (255, 255, 255)


def write_sheet(path: Path, rows: Sequence[tuple[Pixels, Pixels, Pixels]]) -> None:
    """Write one row per pair: H&E, real and generated IHC, each at most 256 px wide."""
    cells = [[_fitted(image) for image in row] for row in rows]
    width = 3 * CELL_PX + 4 * GAP_PX
    heights = [max(cell.height for cell in row) for row in cells]
    sheet = Image.new("RGB", (width, HEADER_PX + sum(heights) + GAP_PX * len(rows)), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for column, title in enumerate(TITLES):
        pen.text((GAP_PX + column * (CELL_PX + GAP_PX), GAP_PX / 2), title, fill=INK, font=font)
    top = HEADER_PX
    for row, height in zip(cells, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (GAP_PX + column * (CELL_PX + GAP_PX), top))
        top += height + GAP_PX
    write_png(path, np.asarray(sheet))


def _fitted(pixels: Pixels) -> Image.Image:
    """Return an image scaled to the width of a cell; small ones are enlarged without blur."""
    height, width = pixels.shape[:2]
    size = (CELL_PX, max(1, round(height * CELL_PX / width)))
    smooth = Image.Resampling.BOX if width >= CELL_PX else Image.Resampling.NEAREST
    return Image.fromarray(pixels).resize(size, smooth)
