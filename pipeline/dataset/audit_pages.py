"""What an audit leaves behind: every leak in ``audit.json``, and pictures of those that touch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from pipeline.dataset.audit import WAYS, Leak
from pipeline.patches.writer import write_image
from registration.files.storage import write_json
from registration.geometry import Image

if TYPE_CHECKING:
    from training.data.pairs import PatchPair

PICTURE_PX = 320
MOST_PICTURES = 50
NAMED_AT_MOST = 5
FORMAT = "bci-pipeline audit"


def write_audit(folder: Path, pairs: Sequence[PatchPair], leaks: Sequence[Leak]) -> None:
    """Write ``audit.json`` and a picture of each couple that touches, the first fifty."""
    folder.mkdir(parents=True, exist_ok=True)
    by_name = {(pair.split, pair.name): pair for pair in pairs}
    touching = [leak for leak in leaks if leak.kind == "touching"]
    files = {}
    for number, leak in enumerate(touching[:MOST_PICTURES], start=1):
        name = f"touching_{number:03d}.jpg"
        first, second = (
            by_name[split, pair]
            for split, pair in ((leak.first_split, leak.first), (leak.second_split, leak.second))
        )
        write_image(folder / name, _picture(first, second, leak.evidence), "jpeg")
        files[leak] = name
    listed = [asdict(leak) | {"picture": files.get(leak)} for leak in leaks]
    write_json(folder / "audit.json", {"format": FORMAT, "pairs": len(pairs), "leaks": listed})


def facts_of(leaks: Sequence[Leak]) -> dict[str, Any]:
    """Return how many leaks of each kind there are."""
    return dict(Counter(leak.kind for leak in leaks))


def problems_of(leaks: Sequence[Leak]) -> list[str]:
    """Name the first leaks of each kind."""
    found = []
    for kind, count in facts_of(leaks).items():
        some = [leak for leak in leaks if leak.kind == kind][:NAMED_AT_MOST]
        named = "; ".join(
            f"{leak.first} ({leak.first_split}) and {leak.second} ({leak.second_split}): {leak.evidence}"
            for leak in some
        )
        more = f"; and {count - len(some)} more" if count > len(some) else ""
        found.append(f"{kind} in two splits: {named}{more}")
    return found


def _picture(first: PatchPair, second: PatchPair, evidence: str) -> Image:
    """Return both pairs as they lie beside each other: H&E, then IHC."""
    ways = [way for way in WAYS if f"lies {way}" in evidence]
    before = ways[0] in ("on the left", "above")
    upright = ways[0] in ("below", "above")
    panels = []
    for stain in range(2):
        shown = [
            cv2.resize(pair.read()[stain], (PICTURE_PX,) * 2, interpolation=cv2.INTER_AREA)
            for pair in (first, second)
        ]
        panels.append(np.concatenate(shown[::-1] if before else shown, axis=0 if upright else 1))
    return np.concatenate(panels, axis=1 if upright else 0)
