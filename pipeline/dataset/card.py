"""``README.md``: the data card that goes with a dataset wherever it goes."""

from __future__ import annotations

from importlib.metadata import version

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.dataset.plan import CARD_NAME, Dataset
from pipeline.patches.writer import SUFFIXES
from registration.files.storage import write_text


def write_card(dataset: Dataset) -> None:
    """Write the data card."""
    environment = Environment(
        loader=PackageLoader("pipeline.dataset"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    kept = [row for row in dataset.rows if row.kept]
    text = environment.get_template("README.md.j2").render(
        plan=dataset.plan,
        summary=dataset.summary,
        suffix=SUFFIXES[dataset.plan.settings.format],
        candidates=len(dataset.rows),
        patients=len({row.patient for row in kept}),
        slides=len({row.case for row in kept}),
        excluded=[case for case in dataset.summary.cases if case.excluded],
        version=version("bci-pipeline"),
    )
    write_text(dataset.folder / CARD_NAME, text)
