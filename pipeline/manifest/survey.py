"""The slides of a folder: which files they are, and what each says of itself, read once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from registration.errors import SlideError
from registration.files.storage import content_hash
from registration.geometry import Size
from registration.slides.slide import Slide, open_slide

SLIDE_SUFFIXES = (
    *(
        ".ndpi",
        ".svs",
        ".tif",
        ".tiff",
        ".mrxs",
        ".scn",
        ".bif",
        ".vms",
        ".vmu",
        ".svslide",
        ".dcm",
    ),
    *(".qptiff", ".czi", ".png", ".jpg", ".jpeg", ".webp", ".bmp"),
    *(".vsi", ".isyntax", ".lif", ".jp2", ".jls", ".jxl", ".heic", ".avif", ".gif", ".zvi", ".nd2"),
    *(".oir", ".kfb", ".ndpis"),
)
ZARR = ".zarr"
"""Endings of slides, also of kinds that cannot be read: they are named rather than passed over."""

OURS = ("registration.json", "dataset.json", "patches.json", "study.json", "truth.json")
"""What lies in folders of results, whose images are no raw slides."""
OPENED_AT_ONCE = 8
UNKNOWN_MPP = 1.0
"""Given to a slide that does not say its scale, to learn the rest."""
GIVEN_WITH = "mpp_he or mpp_ihc in the manifest or in a table of cases"

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class SlideSeen:
    """One slide, as far as it can be opened."""

    path: Path
    size: Size | None = None
    mpp: float | None = None
    """µm per pixel; ``None`` where the file does not say it, or cannot be opened."""
    vendor: str = ""
    fault: str = ""
    """Why it cannot be used as it is."""

    @property
    def is_open(self) -> bool:
        """Whether its pixels can be read."""
        return self.size is not None


def find_slides(folder: Path) -> list[Path]:
    """Return every file below ``folder`` that is a slide by its ending, results of ours left out.

    Raises :class:`UsageError` where the folder is none, or holds no slide.
    """
    if not folder.is_dir():
        what = "a file" if folder.exists() else "not there"
        raise UsageError(f"{folder} is {what}; give the folder that holds the slides")
    found = sorted(_walk(folder))
    if not found:
        endings = " ".join((*SLIDE_SUFFIXES, ZARR))
        raise UsageError(f"{folder} holds no slides; looked for files that end in {endings}")
    return found


def look_at(
    slides: Sequence[Path], mpps: Mapping[Path, float], report: Report
) -> dict[Path, SlideSeen]:
    """Open each slide once and return what it says; ``mpps`` are given by hand."""
    seen: dict[Path, SlideSeen] = {}
    with ThreadPoolExecutor(OPENED_AT_ONCE) as threads:
        for slide in threads.map(lambda path: _look(path, mpps.get(path)), slides):
            seen[slide.path] = slide
            report(len(seen), len(slides))
    return seen


def same_content(slides: Sequence[Path]) -> list[list[Path]]:
    """Return groups of files that hold the same; only files of one size are compared."""
    by_size: dict[int, list[Path]] = {}
    for path in slides:
        if path.is_file():
            by_size.setdefault(path.stat().st_size, []).append(path)
    groups: dict[str, list[Path]] = {}
    for same in by_size.values():
        for path in same if len(same) > 1 else ():
            groups.setdefault(content_hash(path), []).append(path)
    return [group for group in groups.values() if len(group) > 1]


def _walk(folder: Path) -> Iterator[Path]:
    for name, folders, files in os.walk(folder):
        here = Path(name)
        if any(ours in files for ours in OURS):
            folders.clear()
            continue
        zarrs = [inner for inner in folders if inner.lower().endswith(ZARR)]
        covers = {Path(file).stem for file in files if file.lower().endswith(".mrxs")}
        folders[:] = sorted(
            inner
            for inner in folders
            if inner not in zarrs and inner not in covers and not inner.startswith(".")
        )
        yield from (here / inner for inner in zarrs)
        series = False
        for file in sorted(files):
            suffix = Path(file).suffix.lower()
            if (
                suffix not in SLIDE_SUFFIXES
                or file.startswith(".")
                or (series and suffix == ".dcm")
            ):
                continue
            # Each file of a DICOM series opens the whole of it.
            series = series or suffix == ".dcm"
            yield here / file


def _look(path: Path, mpp: float | None) -> SlideSeen:
    """Open a slide; once more with a made-up scale where only that is missing."""
    try:
        with open_slide(path, mpp, GIVEN_WITH) as slide:
            return _seen(slide, slide.mpp, "")
    except SlideError as error:
        fault = str(error)
    try:
        with open_slide(path, UNKNOWN_MPP) as slide:
            return _seen(slide, None, fault)
    except SlideError:
        return SlideSeen(path, fault=fault)


def _seen(slide: Slide, mpp: float | None, fault: str) -> SlideSeen:
    return SlideSeen(slide.path, slide.size, mpp, slide.vendor, fault)
