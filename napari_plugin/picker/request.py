"""What a landmark picker is asked to open; known before napari is loaded."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from napari_plugin.picker.journal import Journal, PairOfSlides
from registration.errors import SlideError
from registration.slides.slide import Slide, open_slide

MPP_OPTION = "“µm per pixel” (--mpp-{})"


@dataclass(frozen=True)
class PairRequest:
    """What to open."""

    he: Path
    ihc: Path
    landmarks: str | None = None
    """What a user gives for ``--landmarks``; by default a file named after both slides."""
    mpp_he: float | None = None
    mpp_ihc: float | None = None
    folder: Path | None = None
    """Where that file lies by default; beside the H&E slide where nothing is said."""

    @cached_property
    def slides(self) -> tuple[Slide, Slide]:
        """The H&E and the IHC slide, opened when first asked for. Raises :class:`SlideError`."""
        if self.he.resolve() == self.ihc.resolve():
            raise SlideError(f"the H&E and the IHC slide are the same file: {self.he}")
        with ExitStack() as opened:
            he = opened.enter_context(open_slide(self.he, self.mpp_he, MPP_OPTION.format("he")))
            ihc = opened.enter_context(open_slide(self.ihc, self.mpp_ihc, MPP_OPTION.format("ihc")))
            opened.pop_all()
        return he, ihc

    def journal(self, slides: PairOfSlides) -> Journal:
        """Return where the pairs are kept. Raises :class:`LandmarkError`."""
        if self.landmarks:
            return Journal.of_argument(self.landmarks, slides)
        return Journal.beside(self.he, self.ihc, slides, self.folder)
