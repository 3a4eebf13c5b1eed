"""``README.md``: the data card that goes with a dataset wherever it goes."""

from __future__ import annotations

import hashlib
import html
import re
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.dataset.checksums import CARD_NAME, listed
from pipeline.dataset.folder import read_record
from pipeline.dataset.plan import Dataset
from pipeline.patches.grades import GRADES
from pipeline.patches.writer import SUFFIXES
from registration.files.storage import write_text

NOTES_MARK = (
    "<!-- Yours from here on: kept when the dataset is made again, no part of the checksums. -->"
)


def write_card(dataset: Dataset, notes: str) -> str:
    """Write the data card with a person's ``notes`` at its end; return the program's part."""
    environment = Environment(
        loader=PackageLoader("pipeline.dataset"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["text"] = in_markdown
    kept = [row for row in dataset.rows if row.kept]
    text = environment.get_template("README.md.j2").render(
        plan=dataset.plan,
        summary=dataset.summary,
        suffix=SUFFIXES[dataset.plan.settings.format],
        candidates=len(dataset.rows),
        grades={grade: sum(row.grade == grade for row in kept) for grade in GRADES},
        patients=len({row.patient for row in kept}),
        slides=len({row.case for row in kept}),
        excluded=[case for case in dataset.summary.cases if case.excluded],
        version=version("bci-pipeline"),
    )
    written = f"{notes}\n" if notes else ""
    write_text(dataset.folder / CARD_NAME, f"{text}{NOTES_MARK}\n\n{written}")
    return text


def in_markdown(text: str) -> str:
    """Return a name as text that no viewer of Markdown takes for a tag, a link or a table's cell."""
    plain = re.sub(r"([\\`\[\]|])", r"\\\1", " ".join(text.split()))
    return html.escape(plain, quote=False)


def notes_of(folder: Path) -> str:
    """Return what a person wrote on the data card in ``folder``; empty where nobody did.

    A card that was changed elsewhere than in its notes is kept as a whole.
    """
    card = folder / CARD_NAME
    if not card.is_file():
        return ""
    program, _, notes = card.read_text(encoding="utf-8", errors="replace").partition(NOTES_MARK)
    known = read_record(folder).get("card") or listed(folder).get(CARD_NAME)
    if known in (card_hash(program), None):
        return notes.strip()
    return f"## The card as it was changed by hand\n\n{program.strip()}\n\n{notes}".strip()


def card_hash(text: str) -> str:
    """Return the checksum of the program's part of a data card."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
