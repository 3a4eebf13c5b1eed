"""``manifest``: from a folder of slides, a table, or both, to a manifest that `run` takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath

from pipeline.errors import UsageError
from pipeline.manifest.case_table import CaseRow, read_case_table
from pipeline.manifest.manifest import load_manifest
from pipeline.manifest.names import HE, IHC, Pattern, SlideName, guess, stain_name
from pipeline.manifest.pairing import Pairing, PairingFinding, SlideCandidate, pair_slides
from pipeline.manifest.survey import Report, SlideSeen, find_slides, look_at, same_content
from pipeline.manifest.writing import Heading, manifest_text
from registration.files.outputs import check_file, lies_in
from registration.files.storage import write_text
from registration.files.words import counted

SLIDE_KEYS = ("he", "ihc")


@dataclass(frozen=True)
class DraftRequest:
    """What ``manifest`` is asked for."""

    folder: Path
    out: Path
    command: str
    """As it was typed, for the manifest's first line."""
    he: str | None = None
    ihc: str | None = None
    table: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Draft:
    """What ``manifest`` wrote."""

    out: Path
    slides: int
    about: tuple[str, ...]
    pairing: Pairing


def draft_manifest(request: DraftRequest, report: Report) -> Draft:
    """Pair the slides of a folder and write the manifest.

    Raises :class:`UsageError` for patterns that cannot work, a folder without slides, and an
    existing manifest; :class:`pipeline.errors.ManifestError` for a table that cannot be read.
    """
    patterns = [
        Pattern(text, is_he).checked()
        for text, is_he in ((request.he, True), (request.ihc, False))
        if text is not None
    ]
    check_file(
        request.out, [] if request.table is None else [request.table], suffixes=(".yaml", ".yml")
    )
    if request.out.exists() and not request.overwrite:
        raise UsageError(f"{request.out} is there already; name another file, or give --overwrite")
    rows, ignored = ([], []) if request.table is None else read_case_table(request.table)
    named = _of_table(rows, request)
    paths = find_slides(request.folder)
    missing = [path for path in named if path not in paths]
    names = {path: _named(path.relative_to(request.folder), patterns) for path in paths} | named
    seen = look_at([*paths, *missing], _mpps(rows, names), report)
    candidates = [
        SlideCandidate(seen[path], name) for path, name in names.items() if name is not None
    ]
    pairing = pair_slides(candidates, rows, same_content([*paths, *missing]))
    unknown = [
        _nameless(seen[path], request.folder) for path, name in names.items() if name is None
    ]
    pairing = Pairing(pairing.entries, (*unknown, *pairing.findings))
    about = tuple(_about(patterns, names, named, request, rows, ignored))
    if pairing.entries:
        results = _results_of(request)
        heading = Heading(request.folder.resolve().name, results, request.command, about)
        write_text(request.out, manifest_text(pairing, heading, request.out.parent))
    if not pairing.usable:
        why = (f"{found.kind}: {found.text}" for found in pairing.findings)
        listed = (
            f"; {request.out} lists them: fill in what is missing, and take the # away"
            if pairing.entries
            else ""
        )
        raise UsageError("\n".join([f"no case of {request.folder} is whole{listed}", *about, *why]))
    load_manifest(request.out)
    return Draft(request.out, len(names), about, pairing)


def _results_of(request: DraftRequest) -> str:
    """Return the folder of results beside the manifest: called like it, but never that of the slides."""
    name = request.out.stem
    return f"{name}_results" if lies_in(request.folder, request.out.parent / name) else name


def _named(path: PurePath, patterns: Sequence[Pattern]) -> SlideName | None:
    """Return what a path says: by the user's patterns, or by guessing where there is none for it."""
    for pattern in patterns:
        if (found := pattern.match(path)) is not None:
            return found
    guessed = guess(path)
    given = {pattern.is_he for pattern in patterns}
    return None if guessed is None or guessed.is_he in given else guessed


def _of_table(rows: Sequence[CaseRow], request: DraftRequest) -> dict[Path, SlideName]:
    """Return the slides that a table names, with their cases."""
    found: dict[Path, SlideName] = {}
    for row in rows:
        for key in SLIDE_KEYS:
            if key in row.values:
                path = _found(row, key, request)
                stain = HE if key == "he" else stain_name(row.values.get("stain", IHC))
                if path in found and found[path].is_he != (key == "he"):
                    raise UsageError(f"{row.place}: {path} stands for both slides of a case")
                found[path] = SlideName(row.values.get("id", ""), stain, row.values.get("patient"))
    return found


def _found(row: CaseRow, key: str, request: DraftRequest) -> Path:
    """Return the file that a table means: from the folder of slides, or from the table's own."""
    assert request.table is not None
    text = row.values[key]
    for name in (text, PureWindowsPath(text).as_posix()):
        for base in (request.folder, request.table.parent):
            if (base / name).exists():
                return base / name
    return request.folder / text


def _mpps(rows: Sequence[CaseRow], names: dict[Path, SlideName | None]) -> dict[Path, float]:
    """Return the scales that a table gives, by slide."""
    given = {row.values.get("id", "").casefold(): row.values for row in rows}
    mpps = {}
    for path, name in names.items():
        values = given.get(name.case.casefold(), {}) if name else {}
        text = values.get("mpp_he" if name and name.is_he else "mpp_ihc")
        if text:
            mpps[path] = float(text)
    return mpps


def _nameless(slide: SlideSeen, folder: Path) -> PairingFinding:
    name = slide.path.relative_to(folder)
    return PairingFinding(
        "no stain in its name", f"{name}: say with --he and --ihc which names are which"
    )


def _about(
    patterns: Sequence[Pattern],
    names: dict[Path, SlideName | None],
    of_table: dict[Path, SlideName],
    request: DraftRequest,
    rows: Sequence[CaseRow],
    ignored: Sequence[str],
) -> list[str]:
    """Return how slides were told apart, in sentences."""
    sentences = [f"{'H&E' if p.is_he else 'IHC'} slides are called {p.text}." for p in patterns]
    by_name = {path: name for path, name in names.items() if name and path not in of_table}
    if of_table:
        sentences.append(f"{request.table} names {counted(len(of_table), 'slide')}.")
    if by_name and len(patterns) < 2:
        counts = Counter(name.stain for name in by_name.values())
        stains = ", ".join(f"{stain} ({count})" for stain, count in counts.most_common())
        example, name = next(iter(by_name.items()))
        sentences.append(
            f"Stains by their names: {stains}; the rest of a name is the case: "
            f"{example.relative_to(request.folder)} is {name.stain} of case {name.case}. "
            "Other names: --he '{case}_HE*' --ihc '{case}_{stain}*'."
        )
    told = any(name.patient for name in by_name.values())
    if by_name and not told and not any("patient" in row.values for row in rows):
        sentences.append("Each case is a patient of its own: no table and no {patient} says more.")
    if ignored:
        sentences.append(
            f"Columns of {request.table} that mean nothing here: {', '.join(ignored)}."
        )
    return sentences
