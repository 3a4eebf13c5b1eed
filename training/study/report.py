"""What a scored study leaves behind: ``agreement.json`` and ``agreement.html``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from registration.files.her2 import HER2_LEVELS
from registration.files.storage import write_json, write_text
from registration.pages.page import Verdict, render
from training.evaluation.paper import PAPER_READER_ACCURACY
from training.study.create import GENERATED, REAL
from training.study.scores import Agreement, Kappa, Share
from training.study.sheets import Sheet, Study

KIND_LABELS = {GENERATED: "generated images", REAL: "real images"}


def write_agreement(folder: Path, study: Study, sheets: Sequence[Sheet], found: Agreement) -> None:
    """Write the two files into ``folder``."""
    write_json(folder / "agreement.json", as_json(study, sheets, found))
    write_text(folder / "agreement.html", as_html(study, found))


def as_json(study: Study, sheets: Sequence[Sheet], found: Agreement) -> dict[str, Any]:
    """Return all results as plain values."""
    return {
        "format": "bci-pipeline reader agreement",
        "version": 1,
        "study": study.id,
        "images": len(study.key),
        "sheets": [str(sheet.path) for sheet in sheets],
        "readers": [
            {
                "reader": reader.reader,
                **{
                    name: {**asdict(value), "share": value.value}
                    for name, value in (
                        ("generated_vs_dataset", reader.generated),
                        ("real_vs_dataset", reader.real),
                        ("generated_vs_own_real", reader.same_as_real),
                    )
                },
                "confusion": {kind: t.tolist() for kind, t in reader.confusion.items()},
            }
            for reader in found.readers
        ],
        "kappas": [asdict(kappa) for kappa in found.kappas],
        "paper_generated_vs_dataset": list(PAPER_READER_ACCURACY),
    }


def as_html(study: Study, found: Agreement) -> str:
    """Return the result as one page that needs nothing else."""
    return render(
        "training",
        "study_agreement.html",
        filters={"share": share_text, "kappa": kappa_text},
        verdict=page_verdict(found),
        study=study,
        agreement=found,
        levels=HER2_LEVELS,
        kinds=KIND_LABELS,
        paper=PAPER_READER_ACCURACY,
    )


def page_verdict(found: Agreement) -> Verdict:
    """Return what the page says first: how often each reader was right."""
    lines = tuple(
        f"{reader.reader}: {_percent(reader.generated)} of the generated and "
        f"{_percent(reader.real)} of the real images get their level."
        for reader in found.readers
    )
    advice = "The difference between the two is what the stain transfer loses."
    return Verdict("none", "read by pathologists", lines, advice)


def _percent(share: Share) -> str:
    return f"{100 * share.value:.0f} %" if share.count else "an unknown share"


def share_text(share: Share) -> str:
    """Return ``37.5 % (15 of 40; 22.7 to 54.2 %)``."""
    if not share.count:
        return "not defined: the dataset states no HER2 level"
    return (
        f"{100 * share.value:.1f} % ({share.right} of {share.count}; "
        f"{100 * share.low:.1f} to {100 * share.high:.1f} %)"
    )


def kappa_text(kappa: Kappa) -> str:
    """Return ``0.42 (0.25 to 0.58)``."""
    if math.isnan(kappa.value):
        return "not defined: all scores are equal"
    if math.isnan(kappa.low):
        return f"{kappa.value:.2f}"
    return f"{kappa.value:.2f} ({kappa.low:.2f} to {kappa.high:.2f})"
