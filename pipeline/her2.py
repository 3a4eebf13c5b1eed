"""HER2 levels, as people write them."""

from __future__ import annotations

from typing import Literal, get_args

Her2 = Literal["0", "1+", "2+", "3+"]
HER2_LEVELS: tuple[Her2, ...] = get_args(Her2)


def parse_her2(value: object) -> Her2:
    """Return the level that ``0``, ``"1+"``, ``2`` or ``"3"`` stand for.

    Raises :class:`ValueError` for anything else, also for ``True`` and ``2.0``.
    """
    if not isinstance(value, bool) and isinstance(value, int | str):
        text = str(value).strip()
        for level in HER2_LEVELS:
            if text in (level, level.rstrip("+")):
                return level
    raise ValueError(f"expected a HER2 level, 0, 1+, 2+ or 3+, found {value!r}")
