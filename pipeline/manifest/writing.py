"""A manifest as a person would write it: one block per case, everything explained."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.manifest.names import IHC
from pipeline.manifest.pairing import Entry, Pairing
from pipeline.manifest.survey import SlideSeen
from pipeline.patches.settings import PatchSettings
from pipeline.split import SplitSettings
from pipeline.stages.settings import RegisterSettings
from registration.files.words import counted
from registration.settings import Settings, setting_infos

PLAIN = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+-]*(?: [A-Za-z0-9_./+-]+)*")
"""Texts that YAML needs no quotes for."""

SECTIONS: dict[str, tuple[type[Settings], dict[str, str]]] = {
    "register": (RegisterSettings, {"image": "none"}),
    "patch": (PatchSettings, {}),
    "split": (SplitSettings, {}),
}
"""Settings of the stages, and what a cohort begins with."""

UNKNOWN = "unknown  # give the true µm per pixel, about 0.25 for a 40x scan, 0.5 for 20x"
"""No number, which would pass for the true one where a person leaves it as it is."""
FILES = ("landmarks", "truth", "pieces")


@dataclass(frozen=True, slots=True)
class Heading:
    """What a manifest says of itself."""

    name: str
    out: str
    command: str
    """That made it."""
    about: tuple[str, ...]
    """How names were understood, one sentence each."""


def manifest_text(pairing: Pairing, heading: Heading, base: Path) -> str:
    """Return the manifest of the usable cases, with all others as comments; paths from ``base``."""
    lines = [
        f"# {counted(len(pairing.usable), 'case')} of {heading.name}, paired by: {heading.command}",
        *(f"# {line}" for line in heading.about),
        "# Paths are relative to this file. Values are taken as written: patient 012345 stays 012345.",
        "",
        f"name: {written(heading.name)}",
        f"out: {written(heading.out)}  # everything that is made goes here",
        "",
        "cases:",
    ]
    for entry in pairing.usable:
        lines += [*_entry(entry, base), ""]
    for entry in pairing.entries:
        if entry.reason:
            lines.append(f"  # left out: {entry.reason}")
            lines += [*(f"  # {line[2:]}" for line in _entry(entry, base)), ""]
    for name, (model, begins) in SECTIONS.items():
        lines += [*_section(name, model, begins), ""]
    lines += [
        "# train:  # left out, nothing is trained; takes every setting of `bci-pipeline train`",
        "#   recipe: robust",
    ]
    if pairing.findings:
        lines += ["", "# Found on the way:"]
        lines += [f"#   {found.kind}: {' '.join(found.text.split())}" for found in pairing.findings]
    return "\n".join(lines) + "\n"


def written(value: str) -> str:
    """Return a text as YAML, in quotes where it needs them."""
    return value if PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _entry(entry: Entry, base: Path) -> Iterator[str]:
    """Yield the lines of one case; several IHC slides stand under their stains."""
    yield f"  - id: {written(entry.id)}"
    yield f"    patient: {written(entry.patient)}"
    yield f"    he: {_slide(entry.he, base)}"
    if len(entry.ihc) > 1:
        yield "    ihc:  # all registered to the H&E slide, which keeps its pixels"
        for stain, slide in entry.ihc.items():
            if slide.mpp is None:
                yield f"      {written(stain)}:"
                yield f"        slide: {_slide(slide, base)}"
                yield f"        mpp: {UNKNOWN}"
            else:
                yield f"      {written(stain)}: {_slide(slide, base)}"
    else:
        ((stain, slide),) = entry.ihc.items()
        yield f"    ihc: {_slide(slide, base)}"
        if stain != IHC:
            yield f"    stain: {written(stain)}"
        if slide.mpp is None:
            yield f"    mpp_ihc: {UNKNOWN}"
    if entry.he.mpp is None:
        yield f"    mpp_he: {UNKNOWN}"
    for key, value in entry.values.items():
        yield f"    {key}: {written(_from(base, value) if key in FILES else value)}"


def _slide(slide: SlideSeen, base: Path) -> str:
    size = slide.size
    facts = [slide.vendor, f"{slide.mpp:.4g} µm/px" if slide.mpp else "scale unknown"]
    facts += [f"{size.width} x {size.height}"] if size else []
    return f"{written(_from(base, slide.path))}  # {', '.join(filter(None, facts))}"


def _from(base: Path, path: str | Path) -> str:
    """Return a path as seen from the manifest's folder; absolute where there is no way."""
    try:
        return Path(os.path.relpath(Path(path).absolute(), base.absolute())).as_posix()
    except ValueError:
        return Path(path).absolute().as_posix()


def _section(name: str, model: type[Settings], begins: dict[str, str]) -> Iterator[str]:
    """Yield a section that sets what cohorts begin with, and names everything else."""
    yield f"{name}:" if begins else f"# {name}:"
    for info in setting_infos(model):
        if info.name in begins:
            yield f"  {info.name}: {begins[info.name]}  # {info.text}"
        else:
            unset = f" Left out: {info.unset}." if info.unset else ""
            yield f"#   {info.name}: {_value(info.default)}  # {info.text}{unset}"


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Iterable) and not isinstance(value, str):
        return f"[{', '.join(map(str, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
