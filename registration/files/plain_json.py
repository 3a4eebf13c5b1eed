"""JSON as every other program reads it: no NaN, no NumPy values."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def json_text(value: Any) -> str:
    """Return JSON; NaN and infinity become ``null``, paths and NumPy values become plain."""
    return json.dumps(plain(value), indent=2, allow_nan=False)


def plain(value: Any) -> Any:
    """Turn NumPy values, paths, tuples and numbers that are none into what JSON knows."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
