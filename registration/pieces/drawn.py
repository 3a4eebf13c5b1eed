"""Outlines that a person drew, in QuPath for instance: pieces, control tissue, what to leave out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from registration.errors import LandmarkError
from registration.files.words import split_files
from registration.geometry import Size
from registration.landmarks.geojson import PIXEL_CENTER, Origin, features, read_geojson
from registration.pair import SlidePair
from registration.piece_map import Outlines
from registration.stain import Mask
from registration.tissue import TissueMap

CLASSES = "piece 1, piece 2 and so on, control, or exclude"
CLEARLY = 1.2
"""Outlines belong to the slide on whose tissue they lie by this factor more than on the other's."""

Polygons = tuple[Outlines, ...]
"""Each is an outline and the holes in it; they may overlap."""


@dataclass(frozen=True, eq=False)
class DrawnPieces:
    """What was drawn on one slide, in its level-0 pixels."""

    pieces: dict[str, Polygons]
    """By their names, ``piece 1`` and so on."""
    left_out: Polygons
    """Control tissue and what is to be excluded."""

    @property
    def every(self) -> Polygons:
        """All that was drawn."""
        return tuple(p for polygons in self.pieces.values() for p in polygons) + self.left_out

    @property
    def described(self) -> list[Any]:
        """All of it as plain values, for a hash."""
        return [*self.pieces, *(ring for polygon in self.every for ring in polygon)]


@dataclass(frozen=True, eq=False)
class DrawnPair:
    """What was drawn on each of two slides."""

    he: DrawnPieces | None = None
    ihc: DrawnPieces | None = None


def parse_drawn_argument(text: str, pair: SlidePair) -> DrawnPair:
    """Read what a user gives for ``--pieces``: one file, or ``HE.geojson,IHC.geojson``.

    One side may be empty; a single file belongs to the slide whose tissue it lies on. Raises
    :class:`LandmarkError` for unreadable files, unknown classes, and where that cannot be told.
    """
    names = split_files(text)
    if len(names) == 2:
        sides = (names[0], pair.he), (names[1], pair.ihc)
        return DrawnPair(
            *(read_drawn(Path(part), slide.origin) if part else None for part, slide in sides)
        )
    of_he, of_ihc = (read_drawn(Path(text), slide.origin) for slide in (pair.he, pair.ihc))
    on_he, on_ihc = _on_tissue(of_he, pair.he), _on_tissue(of_ihc, pair.ihc)
    if max(on_he, on_ihc) < CLEARLY * min(on_he, on_ihc):
        raise LandmarkError(
            f"{text}: its outlines may be of either slide; give it as --pieces '{text},' for the "
            f"H&E slide or --pieces ',{text}' for the IHC slide"
        )
    return DrawnPair(he=of_he) if on_he > on_ihc else DrawnPair(ihc=of_ihc)


def read_drawn(path: Path, origin: Origin = (0, 0)) -> DrawnPieces:
    """Read the outlines of one slide, on which QuPath counts from ``origin``.

    Raises :class:`LandmarkError` naming file and feature.
    """
    pieces: dict[str, Polygons] = {}
    left_out: Polygons = ()
    for number, feature in enumerate(features(read_geojson(path, origin)), start=1):
        name, polygons = _class_of(feature), _polygons_of(feature)
        if not polygons:
            raise LandmarkError(f"{path}, feature {number}: expected a closed outline")
        if name in ("control", "exclude"):
            left_out += polygons
        elif re.fullmatch(r"piece \d+", name):
            pieces[name] = pieces.get(name, ()) + polygons
        else:
            raise LandmarkError(
                f"{path}, feature {number}: its class is {name!r}; expected {CLASSES}"
            )
    return DrawnPieces(pieces, left_out)


def mask_of(polygons: Polygons, size: Size, downsample: float) -> Mask:
    """Return what lies inside any of the polygons, on a plane of ``size`` pixels of ``downsample``."""
    inside = np.zeros(size.shape, bool)
    for polygon in polygons:
        plane = np.zeros(size.shape, np.uint8)
        drawn = [np.rint((p + 0.5) / downsample - 0.5).astype(np.int32) for p in polygon]
        cv2.fillPoly(plane, drawn, 1)
        inside |= plane > 0
    return inside


def _class_of(feature: dict[str, Any]) -> str:
    """Return the class that QuPath gives a feature, or else its name."""
    properties = feature.get("properties") or {}
    kind = properties.get("classification") or {}
    return str(kind.get("name") or properties.get("name") or "").strip().lower()


def _polygons_of(feature: dict[str, Any]) -> Polygons:
    """Return a polygon or several, each with its holes."""
    geometry = feature.get("geometry") or {}
    if geometry.get("type") not in ("Polygon", "MultiPolygon"):
        return ()
    coordinates = geometry["coordinates"]
    polygons = [coordinates] if geometry["type"] == "Polygon" else coordinates
    return tuple(
        tuple(np.array(ring, np.float64)[:, :2] - PIXEL_CENTER for ring in polygon)
        for polygon in polygons
        if polygon
    )


def _on_tissue(drawn: DrawnPieces, slide: Any) -> float:
    """Return the share of outlines that is tissue of a slide; 0 where they leave it."""
    tissue = TissueMap.of(slide)
    height, width = tissue.mask.shape
    inside = mask_of(drawn.every, Size(width, height), tissue.downsample)
    return float(tissue.mask[inside].mean()) if inside.any() else 0.0
