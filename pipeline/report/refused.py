"""``report.html`` of a pair that was not registered: both slides, what was measured, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.report.registration import finish_page
from registration.errors import StartError
from registration.files.pictures import jpeg_uri
from registration.pages.page import Verdict, number, render
from registration.pair import SlidePair
from registration.slides.slide import Slide
from registration.stains import stain_of
from registration.start.check import FEWEST_POINTS, LEAST_SHARE, LEAST_SPREAD, TIMES_CHANCE

THUMBNAIL_PX = 900
ADVICE = (
    "Look at both slides: are they sections of one block, is the µm per pixel right, is each the "
    "stain that it was given as? If so, pick landmarks."
)


@dataclass(frozen=True, slots=True)
class SlideCard:
    """One slide as it was given."""

    name: str
    file: str
    uri: str
    facts: str
    looks_like: str


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """One figure of the best alignment that was found, and what would have been enough."""

    label: str
    value: str
    needed: str


def write_refusal(
    folder: Path,
    pair: SlidePair,
    error: StartError,
    next_commands: Sequence[str],
    case: str | None = None,
) -> Path:
    """Write the report of a refused pair into ``folder``; a ``case`` stands for names of files."""
    message = str(error)
    lines = (f"{message[:1].upper()}{message[1:]}.", *pair.doubts)
    page = render(
        "pipeline.report",
        "refused.html",
        case=case,
        title=case or f"{pair.he.path.name} and {pair.ihc.path.name}",
        verdict=Verdict("bad", "not registered", lines, ADVICE if error.picking_helps else ""),
        slides=[_card("H&E", pair.he), _card("IHC", pair.ihc)],
        rows=evidence_rows(error.evidence),
        commands=next_commands if error.picking_helps else (),
    )
    return finish_page(page, folder, pair, case)


def evidence_rows(evidence: dict[str, float]) -> list[EvidenceRow]:
    """Return what was measured in words; nothing where nothing was."""
    if "share" not in evidence:
        return []
    found = {name: evidence[name] for name in ("points", "share", "chance", "spread")}
    enough = max(LEAST_SHARE, TIMES_CHANCE * found["chance"])
    return [
        EvidenceRow("places compared", number(found["points"], 0), f"at least {FEWEST_POINTS}"),
        EvidenceRow(
            "of these, agree on where they belong",
            f"{100 * found['share']:.0f} %",
            f"at least {100 * enough:.0f} %",
        ),
        EvidenceRow(
            "the same with the section turned over: chance",
            f"{100 * found['chance']:.0f} %",
            "",
        ),
        EvidenceRow(
            "extent of the places that agree",
            f"{100 * found['spread']:.0f} % of the tissue",
            f"at least {100 * LEAST_SPREAD:.0f} %",
        ),
    ]


def _card(name: str, slide: Slide) -> SlideCard:
    image, _ = slide.thumbnail(THUMBNAIL_PX)
    width, height = (side * slide.mpp / 1000 for side in (slide.size.width, slide.size.height))
    return SlideCard(
        name=name,
        file=str(slide.path),
        uri=jpeg_uri(image),
        facts=f"{slide.size.width} × {slide.size.height} px at {slide.mpp:.4g} µm/px: "
        f"{width:.1f} × {height:.1f} mm",
        looks_like=stain_of(image) or "neither H&E nor an immunostain",
    )
