"""Synthetic slides that a benchmark draws once and uses again."""

from __future__ import annotations

from pathlib import Path

from registration.synth import SynthCase, SynthSettings, write_case


def drawn_case(
    folder: Path, settings: SynthSettings, workers: int = 2, name: str | None = None
) -> SynthCase:
    """Return a synthetic case, drawn unless it is there already; ``name`` as for ``write_case``."""
    case = SynthCase(name or folder.name, settings, folder)
    if case.is_complete():
        return case
    return write_case(folder, settings, name=name, workers=workers)
