"""What the name of a slide says: its case, its stain, its patient.

A pattern such as ``{patient}/{case}_{stain}.ndpi`` says it outright. Without one it is guessed from
the words that laboratories use: what names a stain is the stain, and the rest of the name the case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from pipeline.errors import UsageError

HE, IHC = "HE", "IHC"
"""Canonical names of the H&E stain, and of an IHC stain that the name does not tell."""

FIELDS = ("case", "stain", "patient")

_HE_WORDS = r"H[-_ ]?&[-_ ]?E|H[-_ ]?and[-_ ]?E|HE|H_E|H[-_]E|HNE|H[aä]?ematoxylin[-_ ]?Eosin"
_IHC_WORDS = {
    "HER2": r"HER[-_ ]?2(?:[-_ ]?neu)?|ERBB2|C[-_ ]?ERB[-_ ]?B[-_ ]?2",
    "KI67": r"KI[-_ ]?67|MIB[-_ ]?1",
    "PDL1": r"PD[-_ ]?L[-_ ]?1",
    "PD1": r"PD[-_ ]?1",
    "PANCK": r"PAN[-_ ]?CK|PAN[-_ ]?CYTOKERATIN|AE1[-_ ]?AE3",
    "ER": r"ER(?:[-_ ]?ALPHA)?|ESR1",
    "PR": r"PR|PGR",
    "IHC": r"IHC|IHK|DAB",
}
_FAMILIES = (
    r"CD\d{1,3}[A-Z]?|CK\d{1,2}|P(?:16|21|27|40|53|63)|S100|SOX\d{1,2}|MLH1|MSH[26]|PMS2|GATA3"
    r"|TTF1|EGFR|AR|SMA|PHH3|DESMIN|VIMENTIN|SYNAPTOPHYSIN|CHROMOGRANIN|ALK|BCL[26]|PROSPC|CC10"
)
_STAIN = re.compile(
    rf"(?<![A-Za-z])(?:(?P<he>{_HE_WORDS})|"
    + "|".join(f"(?P<{name}>{words})" for name, words in _IHC_WORDS.items())
    + rf"|(?P<other>{_FAMILIES}))(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_TCGA = re.compile(r"TCGA-\w{2}-\w{4}", re.IGNORECASE)
"""A barcode's first three parts are the patient."""

_SEPARATORS = " -_.,+"
_FIELD = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True, slots=True)
class SlideName:
    """What the name of a file says."""

    case: str
    stain: str
    """Canonical: :data:`HE`, a stain such as ``HER2``, or :data:`IHC` where it is not told."""
    patient: str | None = None

    @property
    def is_he(self) -> bool:
        """Whether it is the H&E slide."""
        return self.stain == HE


@dataclass(frozen=True)
class Pattern:
    """A user's pattern of file names, with ``{case}``, ``{stain}``, ``{patient}`` and ``*``."""

    text: str
    is_he: bool

    @property
    def _regex(self) -> re.Pattern[str]:
        seen: set[str] = set()
        regex = ""
        for number, part in enumerate(_FIELD.split(self.text)):
            if number % 2 == 0:
                regex += ".*?".join(map(re.escape, part.split("*")))
            elif part in seen:
                regex += f"(?P={part})"
            else:
                regex += f"(?P<{part}>[^/]+?)"
                seen.add(part)
        return re.compile(regex, re.IGNORECASE)

    def checked(self) -> Pattern:
        """Return the pattern. Raises :class:`UsageError` where it cannot tell one case from another."""
        option = "--he" if self.is_he else "--ihc"
        found = _FIELD.findall(self.text)
        unknown = [name for name in found if name not in FIELDS]
        if unknown:
            raise UsageError(
                f"{option} {self.text!r}: {{{unknown[0]}}} means nothing; use {{case}}, {{stain}}, "
                "{patient} and *"
            )
        if "case" not in found:
            raise UsageError(
                f"{option} {self.text!r} has no {{case}}, by which slides are paired; for example "
                f"{'{case}_HE' if self.is_he else '{case}_{stain}'}"
            )
        return self

    def match(self, path: PurePath) -> SlideName | None:
        """Return what a path, relative to the folder of slides, says; ``None`` where it does not fit.

        A pattern without ``/`` is one of names; one without the ending fits files of any.
        """
        whole = path.as_posix() if "/" in self.text else path.name
        for name in (whole[: len(whole) - len(path.suffix)], whole):
            found = self._regex.fullmatch(name)
            if found is None:
                continue
            parts = found.groupdict()
            stain = HE if self.is_he else stain_name(parts.get("stain") or IHC)
            return SlideName(parts["case"], stain, parts.get("patient"))
        return None


def stain_name(text: str) -> str:
    """Return the canonical name of a stain, or the text itself where it is none we know.

    >>> stain_name("ki-67"), stain_name("h&e"), stain_name("Masson")
    ('KI67', 'HE', 'Masson')
    """
    found = _STAIN.fullmatch(text.strip())
    return _canonical(found) if found else text.strip()


def guess(path: PurePath) -> SlideName | None:
    """Return what a path seems to say; ``None`` where nothing in it names a stain.

    The last stain named in the file's name counts, or else the nearest folder's. The case is the
    rest of the file's name, or else the nearest folder that names no stain.

    >>> guess(PurePath("p012_HE.ndpi"))
    SlideName(case='p012', stain='HE', patient=None)
    >>> guess(PurePath("p012/ki-67.svs"))
    SlideName(case='p012', stain='KI67', patient=None)
    """
    folders = list(reversed(path.parent.parts))
    stem = path.stem.removesuffix(".ome")
    found = _last(stem)
    if found is not None:
        rest = _without(stem, found)
        case = rest or next((name for name in folders if not _last(name)), "")
    else:
        found = next((match for name in folders if (match := _last(name))), None)
        case = stem
    if found is None or not case:
        return None
    barcode = _TCGA.match(case)
    return SlideName(case, _canonical(found), barcode[0].upper() if barcode else None)


def _last(text: str) -> re.Match[str] | None:
    return max(_STAIN.finditer(text), key=re.Match.start, default=None)


def _without(text: str, found: re.Match[str]) -> str:
    """Return a name without a part of it and the separators that joined it."""
    before, after = text[: found.start()], text[found.end() :]
    left, right = before.rstrip(_SEPARATORS), after.lstrip(_SEPARATORS)
    joint = (before[len(left) :] or after[: len(after) - len(right)])[:1]
    return (left + joint + right if left and right else left or right).strip(_SEPARATORS)


def _canonical(found: re.Match[str]) -> str:
    kind = str(found.lastgroup)
    if kind == "he":
        return HE
    return found["other"].upper() if kind == "other" else kind
