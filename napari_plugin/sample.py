"""Sample data: a synthetic pair of slides, made once and kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from napari_plugin.reader import slide_layer
from registration.geometry import Size
from registration.slides.slide import open_slide
from registration.synth import SynthCase, SynthSettings, write_case

SETTINGS = SynthSettings(size=Size(3072, 2304), seed=11, her2="2+", rotation_deg=14.0)
NAME = "sample"


def sample_pair() -> list[Any]:
    """Return an H&E and an IHC slide of consecutive synthetic sections."""
    he, ihc = sample_slides()
    return [slide_layer(open_slide(he), "sample H&E"), slide_layer(open_slide(ihc), "sample IHC")]


def sample_case() -> SynthCase:
    """Return where the slides lie, drawn or not."""
    return SynthCase(NAME, SETTINGS, cache_folder() / "sample")


def sample_slides() -> tuple[Path, Path]:
    """Return the two NDPI files, written on first use (a few seconds)."""
    case = sample_case()
    if not case.is_complete():
        write_case(case.folder, SETTINGS, name=NAME)
    return case.he, case.ihc


def cache_folder() -> Path:
    """Return where this user's programs keep what they can make again."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "bci-pipeline"
