"""The ``--set NAME=VALUE`` option."""

from __future__ import annotations

from pipeline.errors import UsageError


def assignments(texts: list[str]) -> dict[str, str]:
    """Return what ``NAME=VALUE`` options set; raises :class:`UsageError` for anything else."""
    parts = [text.partition("=") for text in texts]
    wrong = [text for text, (_, equals, _) in zip(texts, parts, strict=True) if not equals]
    if wrong:
        raise UsageError(f"--set takes NAME=VALUE, not {wrong[0]!r}")
    return {name.strip(): value.strip() for name, _, value in parts}
