"""What QuPath loads: Warpy's thin-plate spline, and the matrix of its image alignment.

Coordinates are QuPath's: level-0 pixels, 0 at the corner of the first pixel, counted from the slide's
bounds where it has some. QuPath knows no B-splines, so that the transform is approximated by a
thin-plate spline through places on a grid, and the error of that is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import RBFInterpolator

from registration.export.sampling import Accuracy, Domain, best_affine
from registration.files.storage import write_json, write_text
from registration.geometry import Points, farthest_first, outermost
from registration.landmarks.geojson import PIXEL_CENTER, Origin
from registration.transforms import Projective, Transform

GRIDS = (64, 144, 256, 400)
"""Places of the spline; QuPath solves for them in one go, and reads each for every point."""
GOOD_PX = 0.5
UM_PER_MM = 1000.0
CANDIDATES = 4000


@dataclass(frozen=True, eq=False)
class ThinPlate:
    """A thin-plate spline through pairs of places, and how far off it is."""

    source: Points
    target: Points
    accuracy: Accuracy


@dataclass(frozen=True, slots=True)
class QuPathSlide:
    """How QuPath counts on a slide."""

    mpp: float
    origin: Origin

    def pixels(self, points: Points) -> Points:
        """Return level-0 points as QuPath has them."""
        return np.asarray(points + PIXEL_CENTER - np.array(self.origin), np.float64)


def thin_plate(transform: Transform, domain: Domain) -> ThinPlate:
    """Return the spline that stands for a transform; more places until it is good."""
    wanted = transform(domain.probes)
    some = domain.probes[:CANDIDATES]
    order = farthest_first(some, GRIDS[-1], outermost(some))
    for count in GRIDS:
        source = some[order[:count]]
        target = transform(source)
        missed = np.hypot(*(_spline(source, target)(domain.probes) - wanted).T)
        found = ThinPlate(source, target, Accuracy.of(missed))
        if found.accuracy.p99_px <= GOOD_PX:
            break
    return found


def affine_accuracy(transform: Transform, domain: Domain) -> tuple[Projective, Accuracy]:
    """Return the best affine map and how far off it is."""
    affine = best_affine(transform, domain)
    missed = np.hypot(*(affine(domain.probes) - transform(domain.probes)).T)
    return affine, Accuracy.of(missed)


def write_warpy(path: Path, plate: ThinPlate, slides: tuple[QuPathSlide, QuPathSlide]) -> None:
    """Write the transform of objects of the first slide to the second, as Warpy loads it.

    The spline works in millimetres; the affine maps around it lead there and back.
    """
    source, target = slides
    mm = [slide.mpp / UM_PER_MM for slide in slides]
    spline = {
        "type": "ThinplateSplineTransform",
        "srcPts": (source.pixels(plate.source) * mm[0]).T.tolist(),
        "tgtPts": (target.pixels(plate.target) * mm[1]).T.tolist(),
    }
    invertible = {"type": "WrappedIterativeInvertibleRealTransform", "wrappedTransform": spline}
    steps = (
        _scale(mm[0]),
        {"type": "Wrapped2DTransformAs3D", "wrappedTransform": invertible},
        _scale(1 / mm[1]),
    )
    sequence = {"type": "InvertibleRealTransformSequence", "size": len(steps)}
    write_json(path, sequence | {f"realTransform_{n}": step for n, step in enumerate(steps)})


def write_matrix(path: Path, affine: Projective, slides: tuple[QuPathSlide, QuPathSlide]) -> None:
    """Write the matrix from the first slide's pixels to the second's, as QuPath's dialog takes it."""
    source, target = slides
    back = Projective.translation(*(np.array(source.origin) - PIXEL_CENTER))
    forth = Projective.translation(*(PIXEL_CENTER - np.array(target.origin)))
    matrix = forth.after(affine).after(back).matrix[:2]
    write_text(path, "".join(", ".join(f"{v:.10g}" for v in row) + "\n" for row in matrix))


def _spline(source: Points, target: Points) -> Callable[[Points], Points]:
    middle, spread = source.mean(axis=0), float(np.ptp(source, axis=0).max())
    interpolator = RBFInterpolator((source - middle) / spread, target, kernel="thin_plate_spline")
    return lambda points: np.asarray(interpolator((points - middle) / spread), np.float64)


def _scale(factor: float) -> dict[str, Any]:
    rows = np.diag([factor, factor, 1.0, 1.0])[:3]
    return {"type": "AffineTransform3D", "affinetransform3d": rows.ravel().tolist()}
