"""How good content becomes bad: by bytes, by words, by values."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml

WORDS = (
    *("", "nan", "inf", "-1", "1e400", "1e9", "99999999999999999999", "null", "true", "[]", "{}"),
    *('"', "'", "\0", "\ufeff", "=cmd|' /C calc'!A0", "<img src=x onerror=alert(1)>", "../../x"),
    *("NaN", "Ünïcode", "a" * 300, "x" * 140_000, "[" * 500, "9" * 5000, "\x1b[2J", ";", ",", "\n"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1e300, 2**40, 1e-9, float("nan"), float("-inf"), 10**400),
    *("", "x", "../../x", "y" * 5000, "a\0b", "<b>", "4", [], [[]], {}, [1, 2], {"a": [{}]}),
)
"""What nobody expects in the place of a value."""


def mutated(content: bytes, dice: random.Random) -> bytes:
    """Return content that is cut, overwritten, doubled, in another encoding, or has odd words in it."""
    kind = dice.choice(("cut", "bytes", "words", "words", "words", "encoding", "doubled", "zeros"))
    if kind == "cut":
        return content[: dice.randrange(len(content) + 1)]
    if kind == "zeros":
        return bytes(dice.randrange(200))
    if kind == "encoding":
        text = content.decode("latin-1")
        return text.encode(dice.choice(("utf-16", "utf-16-le", "utf-8")), errors="replace")
    if kind == "doubled":
        return content + content[dice.randrange(len(content) or 1) :]
    changed = bytearray(content)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(changed) or 1)
        size = dice.choice((0, 1, 3, 10))
        new = dice.randbytes(size + 1) if kind == "bytes" else dice.choice(WORDS).encode()
        changed[at : at + size] = new
    return bytes(changed)


def with_odd_value(value: Any, dice: random.Random) -> Any:
    """Return a document in which one value is another, or is missing."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        key = dice.choice(list(value))
        if dice.random() < 0.15:
            return {name: item for name, item in value.items() if name != key}
        return value | {key: with_odd_value(value[key], dice)}
    if isinstance(value, list) and value and dice.random() < 0.9:
        index = dice.randrange(len(value))
        return [*value[:index], with_odd_value(value[index], dice), *value[index + 1 :]]
    return dice.choice(VALUES)


def bad_text(path: Path, good: str, dice: random.Random) -> Path:
    """Write a text file that is mutated; JSON and YAML half of the time by value."""
    by_value = dice.random() < 0.5
    if by_value and path.suffix in (".json", ".geojson"):
        path.write_text(json.dumps(with_odd_value(json.loads(good), dice)))
    elif by_value and path.suffix == ".yaml":
        path.write_text(yaml.safe_dump(with_odd_value(yaml.safe_load(good), dice)))
    else:
        path.write_bytes(mutated(good.encode(), dice))
    return path
