"""Two slides of one case, and which of them moves."""

from __future__ import annotations

from dataclasses import dataclass

from registration.landmarks.landmarks import Moving
from registration.slides.mpp import question_scales
from registration.slides.slide import Slide


@dataclass(frozen=True)
class SlidePair:
    """An H&E and an IHC slide; ``moving`` is warped into the frame of the other."""

    he: Slide
    ihc: Slide
    moving: Moving = "he"

    @property
    def doubts(self) -> tuple[str, ...]:
        """What makes the scales of the two slides implausible together, one sentence each."""
        he, ihc = self.he, self.ihc
        return question_scales((he.path.name, ihc.path.name), (he.mpp, ihc.mpp))

    @property
    def fixed_slide(self) -> Slide:
        """The slide whose pixels stay untouched."""
        return self.ihc if self.moving == "he" else self.he

    @property
    def moving_slide(self) -> Slide:
        """The slide that is warped."""
        return self.he if self.moving == "he" else self.ihc
