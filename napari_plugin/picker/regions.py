"""Outlines that a person draws on the slides: what to leave out, control tissue, pieces.

They lie beside the landmarks, ``<landmarks>_he.geojson`` and ``<landmarks>_ihc.geojson``, as QuPath
writes them; ``register --pieces`` takes both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_plugin.kept import file_hash
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


@dataclass(frozen=True, eq=False)
class Regions:
    """The outlines on both slides. Immutable: every change returns new ones."""

    he: tuple[Region, ...] = ()
    ihc: tuple[Region, ...] = ()

    def on(self, side: Side) -> tuple[Region, ...]:
        """Return the outlines on one slide."""
        return self.he if side == "he" else self.ihc

    def changed(
        self, side: Side, gone: Iterable[Region] = (), new: Iterable[Region] = ()
    ) -> Regions:
        """Return them with some outlines of a slide replaced by others."""
        gone = tuple(gone)
        kept = (*(one for one in self.on(side) if one not in gone), *new)
        return replace(self, he=kept) if side == "he" else replace(self, ihc=kept)

    def of_piece(self, side: Side, kind: str) -> tuple[Region, ...]:
        """Return the outlines of one kind on a slide."""
        return tuple(one for one in self.on(side) if one.kind == kind)

    @property
    def are_there(self) -> bool:
        """Whether there is any."""
        return bool(self.he or self.ihc)

    @property
    def new_piece(self) -> str:
        """A name that no piece has yet, on either slide."""
        used = [one.kind.split() for side in SIDES for one in self.on(side)]
        numbers = [int(words[1]) for words in used if words[0] == "piece"]
        return f"piece {1 + max(numbers, default=0)}"


def outline_paths(landmarks: Path) -> tuple[Path, ...]:
    """Return the files beside a landmark file for the outlines on the H&E and on the IHC slide."""
    return tuple(
        landmarks.absolute().with_name(f"{landmarks.stem}_{side}.geojson") for side in SIDES
    )


class RegionFiles:
    """Where the outlines of both slides are kept."""

    def __init__(self, landmarks: Path, origins: Mapping[Side, Origin]) -> None:
        self._origins = origins
        self.move(landmarks)

    def move(self, landmarks: Path) -> None:
        """Keep them beside another landmark file from now on."""
        self.landmarks = landmarks
        self.paths = dict(zip(SIDES, outline_paths(landmarks), strict=True))
        self._written: dict[Side, tuple[Region, ...]] = {}
        self._seen: dict[Side, str] = {}
        """Hash of each file as it was left or read; of one not looked at there is none."""

    def read(self) -> Regions:
        """Return what is there. Raises :class:`LandmarkError` for an unreadable file."""
        for side, path in self.paths.items():
            self._seen[side] = file_hash(path)
            self._written[side] = self._read(side)
        return Regions(**self._written)

    def holds(self, regions: Regions) -> bool:
        """Return whether these outlines are in the files."""
        return all(self._written.get(side) == regions.on(side) for side in SIDES)

    def changed(self, regions: Regions) -> Path | None:
        """Return a file that somebody else changed and that storing these would overwrite."""
        for side, path in self.paths.items():
            ours = self._seen.get(side) in (None, file_hash(path))
            if path.exists() and not ours and self._written[side] != regions.on(side):
                return path
        return None

    def store(self, regions: Regions) -> None:
        """Write the outlines of each slide; a slide without any has no file. Raises OSError.

        A file that was not read before stays beside it as ``.bak``.
        """
        for side, path in self.paths.items():
            if self._written.get(side) == regions.on(side):
                continue
            if side not in self._seen and path.exists():
                path.replace(path.with_name(path.name + ".bak"))
            if regions.on(side):
                found = [_feature(region) for region in regions.on(side)]
                collection = {"type": "FeatureCollection", "features": found}
                write_geojson(path, collection, self._origins[side])
            else:
                path.unlink(missing_ok=True)
            self._seen[side], self._written[side] = file_hash(path), regions.on(side)

    def argument(self, regions: Regions) -> str | None:
        """What ``register --pieces`` is to be given; ``None`` where nothing was drawn."""
        if not regions.are_there:
            return None
        return ",".join(str(self.paths[side]) if regions.on(side) else "" for side in SIDES)

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
