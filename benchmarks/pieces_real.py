"""Real consecutive sections side by side on one glass: landmark error of each beside its error alone.

    python -m benchmarks.pieces_real FOLDER [--work FOLDER] [--most N] [--json FILE]

FOLDER is that of :mod:`benchmarks.real_pairs`. Two or three of its pairs are laid on one glass; on
the other slide they lie in another order, each turned by an angle of its own. A specimen that is
there twice may be matched with either of its copies. *Alone* is the same section, turned by the same
angle, on a glass of its own: its error differs from that of the picture as it is, as resolution and
grid of a single section follow the size of the slide, and those of a piece its tissue.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.real_pairs import NOMINAL_MPP, pairs
from registration.errors import RegistrationError
from registration.geometry import Image, Points
from registration.landmarks.landmarks import read_landmarks
from registration.pair import SlidePair
from registration.passes import RunOptions
from registration.register import register_pair
from registration.slides.slide import open_slide

TURNS_DEG = (35.0, -20.0, 160.0)
GAP_PX = 120
GLASS = 243
ALLOWED = 1.1


@dataclass(frozen=True, eq=False)
class Section:
    """A picture of one section and its annotated points."""

    image: Image
    points: Points

    @classmethod
    def read(cls, path: Path, points: Points) -> Section:
        """Read a section's picture, its glass made as bright as every other's."""
        image = cv2.imread(str(path))
        assert image is not None
        rim = np.concatenate([image[:8].reshape(-1, 3), image[-8:].reshape(-1, 3)])
        white = np.percentile(rim, 90, axis=0)
        return cls(np.clip(image * (GLASS / white), 0, 255).astype(np.uint8), points)

    def turned(self, degrees: float) -> Section:
        """Return the section turned about its middle, on a canvas that holds all of it."""
        height, width = self.image.shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
        cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
        size = round(width * cos + height * sin), round(width * sin + height * cos)
        matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
        image = cv2.warpAffine(
            self.image, matrix, size, flags=cv2.INTER_CUBIC, borderValue=(GLASS,) * 3
        )
        return Section(np.asarray(image, np.uint8), self.points @ matrix[:, :2].T + matrix[:, 2])


def glass_of(sections: Sequence[Section], order: Sequence[int]) -> tuple[Image, list[Points]]:
    """Lay sections side by side in an order; return the glass and each one's points on it."""
    height = max(len(section.image) for section in sections) + 2 * GAP_PX
    width = sum(section.image.shape[1] + GAP_PX for section in sections) + GAP_PX
    glass = np.full((height, width, 3), GLASS, np.uint8)
    points: list[Points] = [section.points for section in sections]
    x = GAP_PX
    for number in order:
        image = sections[number].image
        glass[GAP_PX : GAP_PX + len(image), x : x + image.shape[1]] = image
        points[number] = sections[number].points + np.array([x, GAP_PX])
        x += image.shape[1] + GAP_PX
    return glass, points


def medians(
    slides: tuple[Path, Path],
    he: Sequence[Points],
    ihc: Sequence[Points],
    folder: Path,
    copies: dict[int, int],
) -> tuple[str, list[float]]:
    """Register two slides; return the verdict and each piece's median error in px."""
    with open_slide(slides[0], NOMINAL_MPP) as moving, open_slide(slides[1], NOMINAL_MPP) as fixed:
        try:
            found = register_pair(SlidePair(moving, fixed), folder, None, RunOptions(image=None))
        except RegistrationError as error:
            return f"refused: {error}", [float("nan")] * len(ihc)
    errors = []
    for number, points in enumerate(ihc):
        mapped = found.chain(points)
        places = [he[number]] + [he[k] for k in (copies.get(number),) if k is not None]
        off = [np.hypot(*(mapped - place).T) for place in places]
        errors.append(min(float(np.median(np.nan_to_num(one, nan=np.inf))) for one in off))
    return found.verdict, errors


def main() -> None:
    """Print a line for each composite."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--most", type=int, default=None, help="composites to try; all by default")
    given = parser.parse_args()
    work = given.work or Path(tempfile.mkdtemp())
    known = list(pairs(given.folder))
    sections = []
    for name, he, ihc in known:
        points = read_landmarks(he.with_suffix(".csv"), ihc.with_suffix(".csv"))
        sections.append((Section.read(he, points.he), Section.read(ihc, points.ihc)))
        verdict, error = medians((he, ihc), [points.he], [points.ihc], work / name, {})
        print(f"{name:<40} as it is {verdict:<8} {error[0]:.2f} px", flush=True)
    rows = []
    lots = [lot for count in (2, 3) for lot in itertools.combinations(range(len(known)), count)]
    for lot in lots[: given.most]:
        rows.append(composite(lot, known, sections, work))
        print("\n".join(f"  {line}" for line in rows[-1]["lines"]), flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")


def laid(
    sections: Sequence[tuple[Section, Section]], folder: Path, copies: dict[int, int]
) -> tuple[str, list[float]]:
    """Lay sections and their turned partners, in reverse order, on two glasses and register these."""
    folder.mkdir(parents=True, exist_ok=True)
    order = range(len(sections))
    he, he_points = glass_of([he for he, _ in sections], order)
    ihc, ihc_points = glass_of([ihc for _, ihc in sections], order[::-1])
    slides = folder / "he.png", folder / "ihc.png"
    for path, image in zip(slides, (he, ihc), strict=True):
        cv2.imwrite(str(path), image)
    return medians(slides, he_points, ihc_points, folder / "run", copies)


def composite(
    lot: tuple[int, ...],
    known: Sequence[tuple[str, Path, Path]],
    sections: Sequence[tuple[Section, Section]],
    work: Path,
) -> dict[str, object]:
    """Register some pairs on one glass, and each alone."""
    folder = work / "_".join(str(number) for number in lot)
    turned = [
        (sections[k][0], sections[k][1].turned(degrees))
        for k, degrees in zip(lot, TURNS_DEG, strict=False)
    ]
    copies = {
        a: b
        for a, b in itertools.permutations(range(len(lot)), 2)
        if known[lot[a]][1] == known[lot[b]][1]
    }
    verdict, errors = laid(turned, folder, copies)
    alone = [
        laid([pair], work / f"{k}_turned_{degrees:g}", {})[1][0]
        for k, pair, degrees in zip(lot, turned, TURNS_DEG, strict=False)
    ]
    lines = [
        f"{known[k][0]:<40} {verdict:<8} {error:.2f} px, alone {own:.2f}"
        f" ({'within' if error <= ALLOWED * own else 'beyond'} {ALLOWED - 1:.0%})"
        for k, error, own in zip(lot, errors, alone, strict=True)
    ]
    return {"lot": lot, "verdict": verdict, "errors_px": errors, "lines": lines}


if __name__ == "__main__":
    main()
