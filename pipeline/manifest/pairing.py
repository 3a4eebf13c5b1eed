"""Slides to cases: by their names, by a table, or by both; and what does not fit together.

Pure: what is known of the files comes in, cases and findings come out.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pipeline.manifest.case_table import CaseRow
from pipeline.manifest.names import HE, SlideName
from pipeline.manifest.survey import SlideSeen
from pipeline.scales import others_have, usual_scale
from registration.files.words import nearest

OF_ITS_OWN = ("id", "patient", "he", "ihc", "stain")
"""Keys of a case that are not taken over from a table as they are."""
SAME_SCALE = 1.1
"""Scales that differ by no more than this factor are taken for the same."""

Kind = Literal[
    "no stain in its name",
    "no partner",
    "twice",
    "cannot be opened",
    "no scale",
    "scales differ",
    "patient unclear",
    "not in the table",
    "not found",
]


@dataclass(frozen=True, slots=True)
class PairingFinding:
    """Something that a person should know before the cohort runs."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One case to be: its slides, and what a table says of it."""

    id: str
    patient: str
    he: SlideSeen
    ihc: Mapping[str, SlideSeen]
    """By stain."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Other keys of the manifest."""
    reason: str = ""
    """Why it is not to be run as it is; empty where it is."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """What became of all slides."""

    entries: tuple[Entry, ...]
    findings: tuple[PairingFinding, ...]

    @property
    def usable(self) -> tuple[Entry, ...]:
        """Cases that can run."""
        return tuple(entry for entry in self.entries if not entry.reason)


@dataclass(frozen=True, slots=True)
class SlideCandidate:
    """A slide with what its name, or a row of a table, says of it."""

    slide: SlideSeen
    name: SlideName


def case_id(text: str) -> str:
    """Return a text as the id of a case, which becomes a folder.

    >>> case_id("Fall 3 (Müller)")
    'Fall-3-Muller'
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._") or "case"


def pair_slides(
    candidates: Sequence[SlideCandidate], rows: Sequence[CaseRow], twins: Sequence[Sequence[Path]]
) -> Pairing:
    """Return the cases of slides whose names are known.

    ``rows`` say more of the cases, ``twins`` are files with the same content.
    """
    groups: dict[str, list[SlideCandidate]] = defaultdict(list)
    for candidate in candidates:
        groups[candidate.name.case.casefold()].append(candidate)
    given = {row.values.get("id", "").casefold(): row for row in reversed(rows)}
    entries: list[Entry] = []
    findings: list[PairingFinding] = []
    for key in sorted(groups, key=_natural):
        entry, found = _case(groups[key], given.get(key), groups.keys())
        entries += [entry] if entry else []
        findings += found
        if rows and key not in given:
            text = f"{groups[key][0].name.case}: taken for a patient of its own"
            findings.append(PairingFinding("not in the table", text))
    for row in rows:
        case = row.values.get("id", "")
        if case.casefold() not in groups:
            findings.append(
                PairingFinding("not found", f"{row.place}: no slides of case {case or '?'}")
            )
    for check in (_same_ids, _two_splits, lambda cases: _same_slides(cases, twins), _scales):
        entries, found = check(entries)
        findings += found
    return Pairing(tuple(entries), tuple(findings))


def _case(
    group: Sequence[SlideCandidate], row: CaseRow | None, others: Iterable[str]
) -> tuple[Entry | None, list[PairingFinding]]:
    """Return the case of slides of one name, ``None`` where it is not whole."""
    name = group[0].name.case
    findings = [
        PairingFinding("cannot be opened", f"case {name}: {one.slide.fault}")
        for one in group
        if not one.slide.is_open
    ]
    by_stain: dict[str, list[SlideSeen]] = defaultdict(list)
    for one in group:
        if one.slide.is_open:
            by_stain[one.name.stain].append(one.slide)
    for stain in [stain for stain, slides in by_stain.items() if len(slides) > 1]:
        listed = " and ".join(str(slide.path) for slide in by_stain.pop(stain))
        findings.append(
            PairingFinding("twice", f"{name} has several {_spoken(stain)} slides: {listed}")
        )
    he = by_stain.pop(HE, [None])[0]
    ihc = {stain: slides[0] for stain, slides in sorted(by_stain.items())}
    if he is None or not ihc:
        if not findings:
            findings.append(_unpaired(group, others))
        return None, findings
    patients = {one.name.patient for one in group if one.name.patient}
    given = row.values if row else {}
    values = {key: value for key, value in given.items() if key not in OF_ITS_OWN}
    patient = given.get("patient", "") or min(patients, default=name)
    entry = Entry(case_id(name), patient, he, ihc, values)
    if len(patients) > 1 and "patient" not in given:
        text = f"{name}: its slides are named after patients {' and '.join(sorted(patients))}"
        findings.append(PairingFinding("patient unclear", text))
        return replace(entry, reason=text), findings
    return _scaled(entry, findings), findings


def _scaled(entry: Entry, findings: list[PairingFinding]) -> Entry:
    """Return a case that says which of its slides have no scale."""
    mute = [slide for slide in (entry.he, *entry.ihc.values()) if slide.mpp is None]
    findings += [PairingFinding("no scale", slide.fault) for slide in mute]
    return replace(entry, reason="its slides do not say their scale" if mute else "")


def _unpaired(group: Sequence[SlideCandidate], others: Iterable[str]) -> PairingFinding:
    one = group[0]
    wanted = "IHC slide" if one.name.is_he else "H&E slide"
    near = nearest(one.name.case, [other for other in others if other != one.name.case.casefold()])
    hint = f". Nearest: {near}" if near else ""
    listed = ", ".join(str(each.slide.path) for each in group)
    return PairingFinding("no partner", f"{listed}: no {wanted} of case {one.name.case}{hint}")


def _same_ids(entries: list[Entry]) -> tuple[list[Entry], list[PairingFinding]]:
    """Leave out cases whose names become the same folder."""
    counts = Counter(entry.id.lower() for entry in entries)
    findings = [
        PairingFinding("twice", f"{name} is the id of {count} cases; rename their slides")
        for name, count in counts.items()
        if count > 1
    ]
    reason = "another case has the same id"
    return [
        replace(entry, reason=reason) if counts[entry.id.lower()] > 1 else entry
        for entry in entries
    ], findings


def _two_splits(entries: list[Entry]) -> tuple[list[Entry], list[PairingFinding]]:
    """Leave the split of a patient who is given two to the draw."""
    splits: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if split := entry.values.get("split"):
            splits[entry.patient].add(split)
    torn = {patient: sorted(given) for patient, given in splits.items() if len(given) > 1}
    findings = [
        PairingFinding(
            "patient unclear",
            f"patient {patient} is given {' and '.join(given)}; all cases of a patient belong to one "
            "split, so that theirs is left to the draw",
        )
        for patient, given in torn.items()
    ]
    return [
        replace(entry, values={k: v for k, v in entry.values.items() if k != "split"})
        if entry.patient in torn
        else entry
        for entry in entries
    ], findings


def _same_slides(
    entries: list[Entry], twins: Sequence[Sequence[Path]]
) -> tuple[list[Entry], list[PairingFinding]]:
    """Leave out cases that show the same slide under two names or for two patients."""
    owners: dict[Path, list[Entry]] = defaultdict(list)
    for entry in entries:
        for slide in (entry.he, *entry.ihc.values()):
            owners[slide.path].append(entry)
    findings: list[PairingFinding] = []
    shared: set[str] = set()
    single = [[path] for path, users in owners.items() if len(users) > 1]
    for group in (*twins, *single):
        users = [entry for path in group for entry in owners[path]]
        files = " and ".join(map(str, group))
        if len(users) < 2:
            findings.append(PairingFinding("twice", f"{files}: the same slide"))
            continue
        names = " and ".join(sorted({entry.id for entry in users}))
        of_one = len({entry.patient for entry in users}) == 1 and len(set(map(id, users))) > 1
        left = "" if of_one else "; left out"
        findings.append(PairingFinding("twice", f"{files}: the same slide in case {names}{left}"))
        shared |= set() if of_one else {entry.id for entry in users}
    reason = "one of its slides appears twice"
    return [
        replace(entry, reason=entry.reason or reason) if entry.id in shared else entry
        for entry in entries
    ], findings


def _scales(entries: list[Entry]) -> tuple[list[Entry], list[PairingFinding]]:
    """Name pairs of different scales, and slides unlike most of the cohort."""
    slides = [slide for entry in entries for slide in (entry.he, *entry.ihc.values())]
    known = [slide.mpp for slide in slides if slide.mpp]
    usual = usual_scale(known, SAME_SCALE)
    findings = []
    for entry in entries:
        of_case = {HE: entry.he, **entry.ihc}
        mpps = {stain: slide.mpp for stain, slide in of_case.items() if slide.mpp}
        if not mpps:
            continue
        apart = max(mpps.values()) / min(mpps.values()) > SAME_SCALE
        unusual = usual is None or not 1 / SAME_SCALE <= min(mpps.values()) / usual <= SAME_SCALE
        if apart or unusual:
            listed = ", ".join(f"{_spoken(stain)} {mpp:.4g}" for stain, mpp in mpps.items())
            usually = "" if apart else f"; {others_have(known, SAME_SCALE)}"
            findings.append(
                PairingFinding("scales differ", f"{entry.id}: {listed} µm per pixel{usually}")
            )
    return entries, findings


def _spoken(stain: str) -> str:
    return "H&E" if stain == HE else stain


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a key by which p2 comes before p10."""
    parts = re.split(r"(\d+)", text)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
