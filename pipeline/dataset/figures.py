"""Pictures of a dataset: contact sheets of pairs, heat maps of the alignment on each slide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

from pipeline.dataset.table import PatchRow
from pipeline.patches.examples import read_example
from pipeline.patches.record import THUMBNAIL, CasePatches, PatchCandidate
from pipeline.report.drawing import backdrop, coloured, laid_over
from registration.files.images import read_image
from registration.geometry import Image
from registration.patch_reasons import REASON_WORDS

PAIR_PX = 260
CAPTION_PX = 56
LINE_PX = 24
TEXT_PX = 16
"""Legible on the page too, which shows a sheet at about two thirds of its size."""

GAP_PX = 12
COLUMNS = 3
PAIRS_PER_SHEET = 6
REJECTED_PER_SHEET = 12
COLOUR_SAMPLES = 12
TISSUE_DENSITY = 0.1

REASON_COLOURS = {
    "no piece": (70, 70, 90),
    "no source": (120, 120, 120),
    "folded": (214, 0, 186),
    "blank HE": (236, 150, 190),
    "blank IHC": (190, 160, 120),
    "no match": (214, 48, 39),
    "shifted": (240, 140, 30),
}


@dataclass(frozen=True, eq=False)
class PairPicture:
    """A pair as it is shown: H&E beside IHC, and two lines of text."""

    image: Image
    title: str
    note: str


def ranked(rows: Sequence[PatchRow], max_shift_um: float) -> list[PatchRow]:
    """Return the kept rows, best aligned first: similarity, less what the shift costs."""

    def score(row: PatchRow) -> float:
        shift = min((row.shift_um or 0.0) / max(max_shift_um, 1e-9), 1.0)
        return (row.similarity or 0.0) * (1 - shift)

    kept = [row for row in rows if row.kept]
    return sorted(kept, key=lambda row: (-score(row), row.pair_id))


def chosen(rows: Sequence[PatchRow], max_shift_um: float) -> dict[str, list[PatchRow]]:
    """Return the pairs of the sheets ``best``, ``median`` and ``worst``; few pairs fill fewer."""
    order = ranked(rows, max_shift_um)
    count = PAIRS_PER_SHEET
    middle = max(0, (len(order) - count) // 2)
    sheets = {"best": order[:count]}
    if len(order) > 2 * count:
        sheets["median"] = order[middle : middle + count]
    if len(order) > count:
        sheets["worst"] = order[-count:]
    return sheets


def pair_picture(folder: Path, row: PatchRow) -> PairPicture:
    """Return a kept pair, read from its files in the dataset."""
    assert row.he_file is not None
    assert row.ihc_file is not None
    files = [row.he_file] if row.he_file == row.ihc_file else [row.he_file, row.ihc_file]
    image = np.hstack([read_image(folder / file) for file in files])
    return PairPicture(_shrunk(image), row.pair_id, _scores(row))


def rejected_pictures(
    patches: dict[str, CasePatches], rows: Sequence[PatchRow]
) -> list[PairPicture]:
    """Return pictures of rejected pairs, the reasons in turn, as many as a sheet holds."""
    by_place = {(row.case, row.x, row.y): row for row in rows if not row.kept}
    found: dict[str, list[PairPicture]] = {}
    for case, cut in patches.items():
        for candidate in cut.candidates:
            if candidate.kept:
                continue
            image = read_example(cut, candidate)
            if image is not None:
                row = by_place[case, candidate.x, candidate.y]
                title = f"{REASON_WORDS[row.reason]}: {row.pair_id}"
                picture = PairPicture(_shrunk(image), title, _scores(row))
                found.setdefault(candidate.reason, []).append(picture)
    queues = list(found.values())
    turns = [
        queue[turn] for turn in range(REJECTED_PER_SHEET) for queue in queues if turn < len(queue)
    ]
    return turns[:REJECTED_PER_SHEET]


def contact_sheet(pictures: Sequence[PairPicture]) -> Image:
    """Return pairs on one white sheet."""
    width, height = 2 * PAIR_PX + GAP_PX, PAIR_PX + CAPTION_PX + GAP_PX
    columns = min(COLUMNS, max(1, len(pictures)))
    rows = -(-len(pictures) // columns)
    texts: list[tuple[tuple[int, int], str]] = []
    sheet = np.full((rows * height + GAP_PX, columns * width + GAP_PX, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        y = GAP_PX + number // columns * height
        x = GAP_PX + number % columns * width
        sheet[y : y + PAIR_PX, x : x + 2 * PAIR_PX] = picture.image
        texts += [
            ((x, y + PAIR_PX + LINE_PX * line + 2), text)
            for line, text in enumerate((picture.title, picture.note))
        ]
    written = Pictures.fromarray(sheet)
    font = sheet_font()
    for corner, text in texts:
        ImageDraw.Draw(written).text(corner, text, fill=(40, 40, 40), font=font)
    return np.asarray(written)


def sheet_font() -> ImageFont.FreeTypeFont:
    """Return the font that matplotlib brings along: Pillow's own has no µ and no Greek."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), TEXT_PX)


def heat_map(patches: CasePatches, max_shift_um: float) -> Image:
    """Return the fixed slide in grey with every candidate: kept ones by shift, others by reason."""
    slide = backdrop(read_image(patches.folder / THUMBNAIL))
    scale = slide.shape[1] / patches.slides.width
    colours = slide.copy()
    order = sorted(patches.candidates, key=lambda item: item.kept)
    for candidate in order:
        corner, opposite = _rectangle(candidate, patches.side, scale)
        cv2.rectangle(colours, corner, opposite, _colour(candidate, max_shift_um), cv2.FILLED)
    shown = laid_over(slide, colours, 0.55)
    for candidate in order:
        corner, opposite = _rectangle(candidate, patches.side, scale)
        cv2.rectangle(shown, corner, opposite, (255, 255, 255), 1)
    return shown


def sampled(folder: Path, rows: Sequence[PatchRow]) -> tuple[Image, Image] | None:
    """Return small H&E and IHC images of at most :data:`COLOUR_SAMPLES` pairs spread over a case.

    Each ``(h, w, 3)``, the pairs below each other; ``None`` without any.
    """
    kept = [row for row in rows if row.kept]
    if not kept:
        return None
    spread = {round(i) for i in np.linspace(0, len(kept) - 1, COLOUR_SAMPLES)}
    column = np.vstack([pair_picture(folder, kept[number]).image for number in sorted(spread)])
    return column[:, :PAIR_PX], column[:, PAIR_PX:]


def mean_density(images: tuple[Image, Image]) -> tuple[float, ...]:
    """Return the mean optical density of tissue, red, green, blue of H&E and then of IHC."""
    stains = []
    for image in images:
        density = -np.log(np.maximum(image.reshape(-1, 3), 1) / 255.0)
        tissue = density[density.mean(axis=1) > TISSUE_DENSITY]
        stains.append(tissue.mean(axis=0) if len(tissue) else np.zeros(3))
    return tuple(round(float(value), 4) for value in np.concatenate(stains))


def _rectangle(
    candidate: PatchCandidate, side: int, scale: float
) -> tuple[tuple[int, int], tuple[int, int]]:
    left, top = round(candidate.x * scale), round(candidate.y * scale)
    right, bottom = round((candidate.x + side) * scale), round((candidate.y + side) * scale)
    return (left, top), (right - 1, bottom - 1)


def _colour(candidate: PatchCandidate, max_shift_um: float) -> tuple[int, int, int]:
    if not candidate.kept:
        return REASON_COLOURS[candidate.reason]
    shift = candidate.shift_um or 0.0
    red, green, blue = coloured(np.array([[shift]]), 0.0, max_shift_um, "amount")[0, 0]
    return int(red), int(green), int(blue)


def _scores(row: PatchRow) -> str:
    """Return a row's scores in one line."""
    parts = [f"tissue {100 * (row.he_tissue or 0):.0f} / {100 * (row.ihc_tissue or 0):.0f} %"]
    if row.shift_um is not None:
        parts.append(f"shift {row.shift_um:.1f} µm")
    if row.similarity is not None:
        parts.append(f"similarity {row.similarity:.2f}")
    if row.null_percentile is not None:
        parts.append(f"beats {row.null_percentile:.0f} %")
    return " · ".join(parts)


def _shrunk(image: Image) -> Image:
    return np.asarray(
        cv2.resize(image, (2 * PAIR_PX, PAIR_PX), interpolation=cv2.INTER_AREA), np.uint8
    )
