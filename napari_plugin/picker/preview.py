"""The preview of a picking session: the H&E slide laid over the IHC slide, and how colours are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from napari_plugin.levels import Source
from napari_plugin.overlay import MODES, Look, Mode, Overlay, bent, seen, warped_tiles
from napari_plugin.picker.assessment import ADVISED_PAIRS
from napari_plugin.picker.canvas import PairCanvas
from napari_plugin.picker.model import Picker
from napari_plugin.swipe import SwipeEdge
from napari_plugin.tone import Tone
from napari_plugin.views import SIDES, STAIN, Side
from registration.slides.slide import Slide
from registration.transforms import Transform

OVERLAY_NAME = f"{STAIN['he']} over {STAIN['ihc']}"


class Preview:
    """Shows the H&E slide over the IHC slide through the pairs as they are; ``told`` of each change."""

    def __init__(
        self, picker: Picker, canvas: PairCanvas, he: Slide, told: Callable[[], object]
    ) -> None:
        self._picker, self._canvas, self._he, self._told = picker, canvas, he, told
        self.look = self._at_rest = Look()
        self.tone = Tone()
        self.bends = False
        """Whether the H&E slide is bent so that all pairs meet."""
        self.fills_window = True
        """Whether it has the whole window, or the right half of it."""
        self._moved: tuple[object, Source] | None = None
        self._toned: tuple[Tone, dict[Side, Source]] = self.tone, canvas.sources
        self._shown: tuple[Source] | tuple[Source, Source, Look] = (canvas.sources["ihc"],)
        self._edge = SwipeEdge(
            canvas.viewer,
            lambda: self.look if self.is_shown else Look(),
            lambda: canvas.cell_width_px,
            lambda share: self.set_look(share=share),
        )
        canvas.spares = self._edge.is_under

    @property
    def is_possible(self) -> bool:
        """Whether the pairs determine a transform."""
        return self._picker.assessment.transform is not None

    @property
    def is_shown(self) -> bool:
        """Whether one slide is laid over the other."""
        return self.look.mode != "off" and self.is_possible

    @property
    def can_bend(self) -> bool:
        """Whether there are pairs enough for a thin plate through them."""
        return self.is_possible and len(self._picker.picks.counted) >= ADVISED_PAIRS

    def set_look(self, mode: Mode | None = None, share: float | None = None) -> None:
        """Change how the H&E slide is laid over the IHC slide."""
        share = self.look.share if share is None else min(1.0, max(0.0, share))
        self.look = replace(self.look, mode=mode or self.look.mode, share=share)
        self._canvas.set_whole(self.fills_window and self.is_shown)
        self.look = self._seen(self.look)
        self.refresh()
        self._told()

    def next_look(self) -> None:
        """Go from no preview to blend, checkerboard, swipe, and back."""
        self.set_look(MODES[(MODES.index(self.look.mode) + 1) % len(MODES)])

    def shift_look(self, step: float) -> None:
        """Move the swipe or change the blend."""
        self.set_look(share=round(self.look.share + step, 3))

    def set_tone(self, tone: Tone) -> None:
        """Show one stain alone, or more contrast, on both slides."""
        self.tone = tone
        self.refresh()
        self._told()

    def next_channel(self) -> None:
        """Go from colours to haematoxylin, DAB, and back."""
        self.set_tone(self.tone.next_channel)

    def set_bending(self, bends: bool) -> None:
        """Bend the preview through all pairs, or show the start that ``register`` begins with."""
        self.bends = bends
        self.set_look()

    def toggle_bending(self) -> None:
        """Bend the preview, or not."""
        self.set_bending(not self.bends)

    def toggle_filling(self) -> None:
        """Give the preview the whole window, or the right half."""
        self.set_filling(not self.fills_window)

    def set_filling(self, fills: bool) -> None:
        """Give the preview the whole window, or the right half."""
        self.fills_window = fills
        self.set_look()

    def follow_view(self) -> None:
        """Let the edge of a swipe, or the squares, go along with the view once it has come to rest."""
        canvas = self._canvas
        if self.look.mode in ("off", "blend") or not (canvas.is_picking or canvas.is_whole):
            return
        now = self._seen(self.look)
        if now == self._at_rest and now != self.look:
            self.set_look()
        self._at_rest = now

    def refresh(self) -> None:
        """Show the overlay where one is wanted and possible, else the slides alone."""
        plain = self._in_tone()["ihc"]
        wanted = (plain, self._laid_over(), self.look) if self.is_shown else (plain,)
        if wanted != self._shown:
            self._shown = wanted
            source = Overlay(*wanted) if len(wanted) == 3 else plain
            self._canvas.show_source("ihc", source, OVERLAY_NAME if self.is_shown else "")

    def close(self) -> None:
        """Take no press any more."""
        self._edge.close()

    def _seen(self, look: Look) -> Look:
        """Return a look for what is in view now."""
        canvas = self._canvas
        if canvas.views is None:
            return look
        return seen(look, canvas.views.ihc, canvas.center, canvas.cell_width_um)

    def _in_tone(self) -> dict[Side, Source]:
        """Return both slides in the tone that is wanted, and show the H&E slide so."""
        if self._toned[0] != self.tone:
            sources = self._canvas.sources
            self._toned = self.tone, {side: self.tone.of(sources[side]) for side in SIDES}
            self._canvas.show_source("he", self._toned[1]["he"])
        return self._toned[1]

    def _laid_over(self) -> Source:
        """Return the H&E slide in the frame of the IHC slide, by the pairs as they are."""
        fit = self._picker.assessment.transform
        assert fit is not None
        wanted = fit, self.bends and self.can_bend, self.tone
        if self._moved is None or self._moved[0] != wanted:
            size = self._canvas.sources["ihc"].size
            transform: Transform = fit
            if wanted[1]:
                points = self._picker.picks.landmarks().active().oriented("he")
                transform = bent(fit, *points, size)
            self._moved = wanted, self.tone.of(warped_tiles(self._he, transform, size))
        return self._moved[1]
