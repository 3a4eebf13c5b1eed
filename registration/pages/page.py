"""From a template and values to one HTML file that carries everything it shows.

Style, script and pictures are inside the file, and a content security policy forbids the rest:
whoever opens a report of a patient's slides tells nobody about it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from registration.files.versions import version_of
from registration.files.words import counted

Mark = Literal["ok", "look", "bad", "none"]
VERDICT_MARKS: dict[str, Mark] = {"pass": "ok", "review": "look", "fail": "bad"}
MARK_SIGNS: dict[Mark, str] = {"ok": "✓", "look": "!", "bad": "✗", "none": "–"}
"""Shown beside every coloured mark, for those who do not see the colour."""

NOTHING = "–"


class Marked:
    """What has a mark."""

    __slots__ = ()
    mark: Mark

    @property
    def sign(self) -> str:
        """The mark as a character."""
        return MARK_SIGNS[self.mark]


@dataclass(frozen=True, slots=True)
class Finding(Marked):
    """The answer to the question that a section asks."""

    mark: Mark
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart."""

    label: str
    count: int
    percent: float
    """Of the longest, or of all."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Tile(Marked):
    """One figure of the summary."""

    label: str
    value: str
    note: str
    mark: Mark
    href: str


@dataclass(frozen=True, slots=True)
class Verdict(Marked):
    """The first thing on a page: a word, what stands behind it, and what to do."""

    mark: Mark
    word: str
    lines: tuple[str, ...]
    advice: str = ""


def verdict_of(lines: Sequence[tuple[bool, str]], doubtful: str, sound: str) -> Verdict:
    """Return a verdict from sentences; those marked ``True`` are warnings, and come first."""
    texts = tuple(text for _, text in sorted(lines, key=lambda line: not line[0]))
    warned = any(warning for warning, _ in lines)
    return Verdict("look" if warned else "ok", doubtful if warned else sound, texts)


def render(
    package: str,
    template: str,
    filters: Mapping[str, Callable[..., str]] | None = None,
    **values: Any,
) -> str:
    """Return a page from a template of ``package``; ``filters`` are the template's own.

    Raises :class:`jinja2.UndefinedError` for a value that the template lacks.
    """
    environment = _environment(package).overlay()
    environment.filters = {**environment.filters, **(filters or {})}
    return environment.get_template(template).render(**values)


def number(value: float | None, digits: int = 1) -> str:
    """Return a number as people write it; a dash where there is none."""
    if value is None or value != value:
        return NOTHING
    return f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", "−")


def significant(value: float | None) -> str:
    """Return a number with about three digits that count."""
    if value is None or value != value:
        return NOTHING
    size = abs(value)
    if size >= 100 or size == 0:
        return number(value, 0)
    if size < 0.001:
        return "< 0.001"
    return number(value, 1 if size >= 10 else 2 if size >= 0.1 else 3)


@cache
def _environment(package: str) -> Environment:
    """Return the environment of a package's pages."""
    shared = PackageLoader("registration.pages")
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), shared]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["style"] = Markup(shared.get_source(environment, "page.css")[0])
    environment.globals["script"] = Markup(shared.get_source(environment, "page.js")[0])
    environment.globals["program_version"] = version_of("bci-pipeline", "unknown")
    environment.filters["counted"] = counted
    environment.filters["number"] = number
    environment.filters["significant"] = significant
    return environment
