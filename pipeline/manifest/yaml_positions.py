"""YAML as people mean it: every scalar stays the text it was written as, and knows its place.

YAML's own rules turn ``012345`` into 5349, ``no`` into false and ``1:30`` into 90. Here a scalar is
text (or nothing), and whoever reads it knows what it should be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import ManifestError
from registration.files.commands import typed
from registration.files.text import DEEPEST, read_text, too_deep
from registration.files.words import nearest_entry, reason, yaml_problem
from registration.settings import Place

MOST_VALUES = 200_000
"""More is no list of cases, but aliases that multiply each other."""

NOTHING = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, slots=True)
class Position:
    """Line and column of a file, both counted from 1."""

    line: int
    column: int
    path: Path | None = None
    """The file, where it is not the one that was asked for."""


@dataclass
class Located:
    """A file's values, and where each of them and each key is written."""

    path: Path
    value: Any = None
    keys: dict[Place, Position] = field(default_factory=dict)
    values: dict[Place, Position] = field(default_factory=dict)
    problems: list[tuple[Place, str]] = field(default_factory=list)
    """Mistakes of the file as YAML, such as a key given twice."""

    def place(self, where: Place, of_key: bool = False) -> Position:
        """Return where something is written, or the nearest thing around it."""
        if of_key and where in self.keys:
            return self.keys[where]
        while where and where not in self.values:
            where = where[:-1]
        return self.values.get(where, Position(1, 1))


def read_located(path: Path) -> Located:
    """Read a YAML file. Raises :class:`ManifestError` where it is missing, no text, or no YAML."""
    try:
        # A pipe that nobody writes to would be waited for for ever.
        pipe = path.is_fifo()
        text = read_text(path, ManifestError) if pipe else path.read_text(encoding="utf-8-sig")
    except IsADirectoryError as error:
        remedy = typed("manifest", path)
        raise ManifestError(
            f"{path} is a folder; write a manifest of its slides: {remedy}"
        ) from error
    except OSError as error:
        near = nearest_entry(path) if path.parent.is_dir() else None
        hint = f". Nearest: {near}" if near and not path.exists() else ""
        raise ManifestError(f"{path} cannot be read: {reason(error)}{hint}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path} is not UTF-8 text; give a manifest (YAML) or a table of cases (CSV)"
        ) from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ManifestError(f"{at}: {yaml_problem(error.problem or error.context)}") from error
    except yaml.YAMLError as error:
        raise ManifestError(f"{path}: {error}") from error
    except RecursionError:
        raise ManifestError(too_deep(path)) from None
    located = Located(path)
    located.value = None if root is None else _value(root, (), located)
    return located


def _value(node: yaml.Node, where: Place, located: Located) -> Any:
    """Return a node's value and note the places of all below it."""
    located.values[where] = _place(node)
    if len(where) > DEEPEST:
        raise ManifestError(too_deep(located.path))
    if len(located.values) > MOST_VALUES:
        raise ManifestError(f"{located.path} is not usable: it holds over {MOST_VALUES:,} values")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, where, located)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*where, k), located) for k, item in enumerate(node.value)]
    quoted = getattr(node, "style", None) in ("'", '"', "|", ">")
    return node.value if quoted or node.value not in NOTHING else None


def _mapping(node: yaml.MappingNode, where: Place, located: Located) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in node.value:
        name = str(key.value)
        if name in found:
            first = located.keys[*where, name]
            located.problems.append(((*where, name), f"given twice, first in line {first.line}"))
        located.keys[*where, name] = _place(key)
        found[name] = _value(item, (*where, name), located)
    return found


def _place(node: yaml.Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)
