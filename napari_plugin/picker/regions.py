"""Outlines that a person draws on the slides: what to leave out, control tissue, pieces.

They lie beside the landmarks, ``<landmarks>_he.geojson`` and ``<landmarks>_ihc.geojson``, as QuPath
writes them; ``register --pieces`` takes both.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_plugin.views import SIDES, Side
from registration.geometry import Points
from registration.landmarks.geojson import (
    PIXEL_CENTER,
    Origin,
    features,
    read_geojson,
    write_geojson,
)

KINDS = ("exclude", "control", *(f"piece {number}" for number in range(1, 10)))


@dataclass(frozen=True, eq=False)
class Region:
    """One outline."""

    kind: str
    """What ``register --pieces`` knows: exclude, control, or piece 1 and so on."""
    outline: Points
    """``(N, 2)`` level-0 pixels."""


class Regions:
    """The outlines on both slides and the files they are kept in."""

    def __init__(self, landmarks: Path, origins: Mapping[Side, Origin]) -> None:
        """Read what is there. Raises :class:`LandmarkError` for an unreadable file."""
        self._origins = origins
        self.paths = {
            side: landmarks.with_name(f"{landmarks.stem}_{side}.geojson") for side in SIDES
        }
        self._regions = {side: self._read(side) for side in SIDES}

    def on(self, side: Side) -> tuple[Region, ...]:
        """Return the outlines on one slide."""
        return self._regions[side]

    def add(self, side: Side, region: Region) -> None:
        """Add an outline and store all."""
        self._store(side, (*self._regions[side], region))

    def remove(self, side: Side, index: int) -> None:
        """Remove an outline and store the others."""
        kept = self._regions[side]
        self._store(side, kept[:index] + kept[index + 1 :])

    @property
    def argument(self) -> str | None:
        """What ``register --pieces`` is to be given; ``None`` where nothing was drawn."""
        if not any(self._regions.values()):
            return None
        return ",".join(str(self.paths[side]) if self._regions[side] else "" for side in SIDES)

    def _read(self, side: Side) -> tuple[Region, ...]:
        path = self.paths[side]
        if not path.exists():
            return ()
        found = []
        for feature in features(read_geojson(path, self._origins[side])):
            kind = ((feature.get("properties") or {}).get("classification") or {}).get("name", "")
            for ring in (feature.get("geometry") or {}).get("coordinates", [])[:1]:
                outline = np.array(ring, np.float64)[:, :2] - PIXEL_CENTER
                closed = bool((outline[0] == outline[-1]).all())
                found.append(Region(str(kind), outline[:-1] if closed else outline))
        return tuple(found)

    def _store(self, side: Side, regions: tuple[Region, ...]) -> None:
        """Write one slide's outlines, or remove the file where there are none."""
        path = self.paths[side]
        if regions:
            collection = {"type": "FeatureCollection", "features": [_feature(r) for r in regions]}
            write_geojson(path, collection, self._origins[side])
        else:
            with suppress(FileNotFoundError):
                path.unlink()
        self._regions[side] = regions


def _feature(region: Region) -> dict[str, object]:
    """Return an outline as QuPath's annotation; its ring is closed."""
    ring = (region.outline + PIXEL_CENTER).tolist()
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*ring, [*ring[0]]]]},
        "properties": {
            "objectType": "annotation",
            "classification": {"name": region.kind},
        },
    }
