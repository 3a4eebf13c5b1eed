"""``cohort.html``: all cases of a cohort on one page, written while they run. One file, offline."""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from pipeline.cohort.facts import URGENCY, CaseFacts, case_facts
from pipeline.cohort.looks import HE_NAME, STAIN_NAME
from pipeline.cohort.state import Cohort
from pipeline.dataset.plan import REPORT_NAME
from pipeline.dataset.summary import SMALLEST_ODD_DENSITY, odd_ones
from pipeline.manifest.manifest import Case
from pipeline.scales import others_have, usual_scale
from registration.files.storage import write_text
from registration.files.words import counted, duration
from registration.pages.page import Bar, Mark, Tile, Verdict, number, render
from registration.patch_reasons import REASON_WORDS

PAGE_NAME = "cohort.html"
SAME_SCALE = 1.1
SMALLEST_ODD_UM = 3.0
SMALLEST_ODD_SHARPNESS = 0.25
MARK_TEXTS: dict[Mark, str] = {
    "ok": "in order.",
    "look": "to look at.",
    "bad": "failed or rejected.",
    "none": "not run yet.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One case as the table shows it."""

    facts: CaseFacts
    picture: str
    link: str


@dataclass(frozen=True, slots=True)
class StainView:
    """One stain of an H&E slide as it is shown beside the others."""

    facts: CaseFacts
    picture: str
    """In the frame of the H&E slide."""
    link: str


@dataclass(frozen=True, slots=True)
class SharedSlide:
    """An H&E slide and its stains."""

    name: str
    picture: str
    stains: list[StainView]


@dataclass
class CohortPage:
    """The page and what it knows; one case that has changed is looked at alone."""

    cohort: Cohort
    known: dict[str, CaseFacts] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.cohort.manifest.out / PAGE_NAME

    def update(self, changed: Sequence[Case] = ()) -> None:
        """Write the page; look again at the cases that have ``changed``, at all of them the first time."""
        cases = self.cohort.manifest.cases
        for case in changed if self.known else cases:
            self.known[case.id] = case_facts(self.cohort, case)
        facts = [self.known[case.id] for case in cases]
        facts.sort(key=lambda one: URGENCY[one.mark])
        write_text(self.path, self._page(facts))

    def _page(self, facts: list[CaseFacts]) -> str:
        dataset = self.cohort.dataset / REPORT_NAME
        return render(
            "pipeline.cohort",
            "cohort.html",
            {"duration": duration},
            title=self.cohort.manifest.name,
            verdict=_verdict(facts),
            tiles=_tiles(facts),
            yields=_yield(facts),
            rows=[Row(one, _uri(one.picture), self._report(one)) for one in facts],
            shared=[shown for of_one in by_slide(facts) if (shown := self._shared(of_one)).picture],
            odd=outliers(facts),
            words=sorted({one.word for one in facts}),
            dataset=self._link(dataset) if dataset.exists() else "",
        )

    def _shared(self, facts: Sequence[CaseFacts]) -> SharedSlide:
        """Return the stains of one H&E slide."""
        name = facts[0].name.removesuffix(f"_{facts[0].stain}")
        he = next((picture for one in facts if (picture := _uri(one.folder / HE_NAME))), "")
        views = [StainView(one, _uri(one.folder / STAIN_NAME), self._report(one)) for one in facts]
        return SharedSlide(name, he, views)

    def _report(self, facts: CaseFacts) -> str:
        return self._link(facts.report) if facts.report and facts.report.exists() else ""

    def _link(self, path: Path) -> str:
        return quote(Path(os.path.relpath(path, self.path.parent)).as_posix())


def by_slide(facts: Sequence[CaseFacts]) -> list[list[CaseFacts]]:
    """Return the cases of each H&E slide with several stains, by name, those of one slide by stain."""
    found: dict[Path, list[CaseFacts]] = {}
    for one in sorted(facts, key=lambda one: (one.name, one.stain)):
        if one.he is not None:
            found.setdefault(one.he, []).append(one)
    return [several for several in found.values() if len(several) > 1]


def _uri(picture: Path | None) -> str:
    """Return a JPEG for the page itself; empty where it is not there yet."""
    data = picture.read_bytes() if picture and picture.is_file() else b""
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}" if data else ""


def outliers(facts: Sequence[CaseFacts]) -> dict[str, list[str]]:
    """Return what of each case stands out against the others of its stain: scale, colour, and so on."""
    found: dict[str, list[str]] = {}
    for stain in sorted({one.stain for one in facts}):
        found |= _of_stain([one for one in facts if one.stain == stain])
    return found


def _of_stain(facts: Sequence[CaseFacts]) -> dict[str, list[str]]:
    """Return what of each case stands out: scale, colour, focus, residual."""
    found: dict[str, list[str]] = {}
    mpps = [mpp for one in facts if one.mpp for mpp in one.mpp]
    usual = usual_scale(mpps, SAME_SCALE)
    for one in facts:
        if not one.mpp:
            continue
        text = f"H&E has {one.mpp[0]:.3g} µm per pixel, IHC {one.mpp[1]:.3g}"
        if max(one.mpp) / min(one.mpp) > SAME_SCALE:
            found[one.name] = [text]
        elif usual is None or not 1 / SAME_SCALE <= min(one.mpp) / usual <= SAME_SCALE:
            found[one.name] = [f"{text}; {others_have(mpps, SAME_SCALE)}"]
    looks = {one.name: one.looks for one in facts if one.looks}
    known: dict[str, tuple[dict[str, tuple[float, ...]], float]] = {
        "its mean colours stand out: another scanner, an old stain, a missing colour profile?": (
            {name: seen.density for name, seen in looks.items()},
            SMALLEST_ODD_DENSITY,
        ),
        "its sharpness stands out: is a slide out of focus?": (
            {name: seen.sharpness for name, seen in looks.items()},
            SMALLEST_ODD_SHARPNESS,
        ),
        "more shift remains, or less, than in the others": (
            {one.name: (one.residual_um,) for one in facts if one.residual_um is not None},
            SMALLEST_ODD_UM,
        ),
    }
    for text, (values, smallest) in known.items():
        for name, score in odd_ones(values, smallest).items():
            found.setdefault(name, []).append(f"{text} (robust score {number(score)})")
    return found


def _verdict(facts: Sequence[CaseFacts]) -> Verdict:
    """Return what the page says first."""
    marks = Counter(one.mark for one in facts)
    lines = tuple(
        f"{counted(marks[mark], 'case')} {text}" for mark, text in MARK_TEXTS.items() if marks[mark]
    )
    if marks["none"]:
        return Verdict("none", "running", lines)
    if marks["bad"] or marks["look"]:
        advice = "The table begins with the cases that need a person; each has its command."
        return Verdict("look", "look at some", lines, advice)
    return Verdict("ok", "all done", lines)


def _tiles(facts: Sequence[CaseFacts]) -> list[Tile]:
    tissue = sum(one.tissue_mm2 for one in facts)
    registered = sum(one.registered_mm2 for one in facts)
    kept = sum(one.kept or 0 for one in facts)
    candidates = sum(one.candidates or 0 for one in facts)
    count = len({one.patient for one in facts})
    waiting = sum(one.needs_person for one in facts)
    share = f"{100 * registered / tissue:.0f} % of it" if tissue else ""
    part = f"of {candidates} places with tissue" if candidates else ""
    return [
        Tile("Cases", str(len(facts)), f"of {count} patient{'s' * (count != 1)}", "none", "cases"),
        Tile("Need a person", str(waiting), "worst first", "look" if waiting else "ok", "cases"),
        Tile("Tissue in", f"{number(tissue)} mm²", "on registered slides", "none", "yield"),
        Tile("Tissue registered", f"{number(registered)} mm²", share, "none", "yield"),
        Tile("Patches kept", number(kept, 0), part, "none", "yield"),
    ]


def _yield(facts: Sequence[CaseFacts]) -> list[Bar]:
    """Return why places were lost, most first."""
    total = sum(one.candidates or 0 for one in facts)
    lost = sum((Counter(one.lost) for one in facts), Counter[str]())
    counts = {"kept": sum(one.kept or 0 for one in facts), **dict(lost.most_common())}
    return [
        Bar(
            REASON_WORDS.get(name, name), count, 100 * count / total, f"{100 * count / total:.0f} %"
        )
        for name, count in counts.items()
        if total
    ]
