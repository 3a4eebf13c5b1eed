"""One H&E slide and several IHC slides in one case: ``ihc: {HER2: a.ndpi, ER: b.ndpi}``.

Such a case becomes one case per stain, called ``<id>_<stain>``, which share patient and H&E slide. The
H&E slide is the fixed one of all of them, so that their patches lie on one grid.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from pipeline.manifest.yaml_positions import Located, Position
from registration.settings import Place

SLIDE, HER2 = "slide", "HER2"
OWN_KEYS = {SLIDE: "ihc", "mpp": "mpp_ihc", "her2": "her2", "landmarks": "landmarks"}
OWN_KEYS |= {"truth": "truth", "pieces": "pieces", "flip": "flip"}
"""What may be said of one stain, and what it is called in a case of that stain alone."""


def expand_stains(located: Located) -> None:
    """Replace each case of several stains by one case per stain, with the places of its parts."""
    cases = located.value.get("cases")
    if not isinstance(cases, list) or not any(map(_stains, cases)):
        return
    expanded: list[Any] = []
    origins: list[tuple[int, str | None]] = []
    for number, case in enumerate(cases):
        stains = _stains(case)
        expanded += [_one(case, stain, own) for stain, own in stains.items()] or [case]
        origins += [(number, stain) for stain in stains] or [(number, None)]
    located.value["cases"] = expanded
    located.values = _moved(located.values, origins)
    located.keys = _moved(located.keys, origins)


def _stains(case: Any) -> dict[str, Any]:
    found = case.get("ihc") if isinstance(case, dict) else None
    return found if isinstance(found, dict) else {}


def _one(case: dict[str, Any], stain: str, own: Any) -> dict[str, Any]:
    """Return the case of one stain: what all share, and what is said of this one.

    A HER2 level said of the whole case is that of its HER2 slide alone.
    """
    others = {"ihc"} if HER2 in stain.upper() else {"ihc", "her2"}
    one = {key: value for key, value in case.items() if key not in others}
    if isinstance(case.get("id"), str):
        one["id"] = f"{case['id']}_{stain}"
    parts = own if isinstance(own, dict) else {SLIDE: own}
    own_values = {OWN_KEYS.get(key, key): value for key, value in parts.items()}
    return one | own_values | {"stain": stain, "he_fixed": "true"}


def _moved(
    places: dict[Place, Position], origins: list[tuple[int, str | None]]
) -> dict[Place, Position]:
    """Return where everything is written, by the new numbers of cases."""
    known: dict[Any, dict[Place, Position]] = defaultdict(dict)
    kept: dict[Place, Position] = {}
    for place, position in places.items():
        if place[:1] == ("cases",) and len(place) > 1:
            known[place[1]][place[2:]] = position
        else:
            kept[place] = position
    for new, (number, stain) in enumerate(origins):
        for inner, position in known[number].items():
            kept["cases", new, *inner] = position
        if stain is None:
            continue
        for inner, position in known[number].items():
            if inner == ("ihc", stain):
                for of_case in ((), ("ihc",), ("id",)):
                    kept["cases", new, *of_case] = position
            elif inner[:2] == ("ihc", stain):
                key = str(inner[2])
                kept["cases", new, OWN_KEYS.get(key, key), *inner[3:]] = position
    return kept
