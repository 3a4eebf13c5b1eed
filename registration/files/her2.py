"""HER2 levels, as people and spreadsheets write them."""

from __future__ import annotations

import re
from typing import Literal, get_args

from registration.files.words import excerpt

Her2 = Literal["0", "1+", "2+", "3+"]
HER2_LEVELS: tuple[Her2, ...] = get_args(Her2)
_LEVEL = re.compile(r"(0)(?:[.,]0)?|([1-3])(?:[.,]0)?\s*\+?")


def parse_her2(value: object) -> Her2:
    """Return the level that ``0``, ``"1+"``, ``2``, ``"3"`` or a spreadsheet's ``"3,0"`` stand for.

    Raises :class:`ValueError` for anything else, also for ``True`` and the number ``2.0``.
    """
    if isinstance(value, str) and (found := _LEVEL.fullmatch(value.strip())):
        return HER2_LEVELS[int(found[1] or found[2])]
    if isinstance(value, int) and not isinstance(value, bool) and value in range(len(HER2_LEVELS)):
        return HER2_LEVELS[value]
    raise ValueError(f"expected a HER2 level, 0, 1+, 2+ or 3+, found {excerpt(value)}")
