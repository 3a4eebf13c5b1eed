"""Both slides of a review in one layer of the window, in the look and the tone that a person chose."""

from __future__ import annotations

from concurrent.futures import Future, wait
from dataclasses import replace

import numpy as np
from napari import Viewer
from napari.layers import Image

from napari_plugin.convert import position_xy
from napari_plugin.levels import Level, Source, pyramid, read_ahead, trouble_of
from napari_plugin.overlay import Look, Mode, Overlay, seen
from napari_plugin.review.layers import FIRST_LOOK, image_layer
from napari_plugin.review.model import Review
from napari_plugin.tone import Tone
from napari_plugin.turns import on_thread
from napari_plugin.widgets import say_nothing
from registration.transforms import Projective


class BothSlides:
    """The layer of both slides; look and tone stay when another review comes."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self.look = self._at_rest = FIRST_LOOK
        self.tone = Tone()
        self.layer: Image | None = None
        self._review: Review | None = None
        self._sources: tuple[Source, Source] | None = None
        self._reading: Future[None] | None = None

    def read(self, review: Review) -> Future[None]:
        """Take the slides of a review, and begin to read on a thread what is seen of them first."""
        self._review = review
        self._sources = self._in_tone(review)
        self._reading = on_thread(read_ahead, self._levels())
        return self._reading

    def show(self) -> None:
        """Add the layer; napari must not move the view for it."""
        assert self._review is not None
        camera = self._viewer.scene.camera
        center, zoom = tuple(camera.center), float(camera.zoom)
        _, options, _ = image_layer(self._review)
        self.layer = self._viewer.add_image(self._levels(), **options)
        camera.center, camera.zoom = center, zoom
        say_nothing(self.layer)
        self._viewer.layers.selection.active = self.layer

    def let_go(self) -> Image | None:
        """Read the slides no longer, since they are closed next; return the layer where there is one."""
        if self._reading is not None:
            wait([self._reading])
        layer, self.layer = self.layer, None
        self._review, self._sources, self._reading = None, None, None
        return layer

    def set_look(self, mode: Mode | None = None, share: float | None = None) -> None:
        """Change how the slides are laid over each other."""
        share = self.look.share if share is None else share
        self.look = self._seen(replace(self.look, mode=mode or self.look.mode, share=share))
        self._show_anew()

    def set_tone(self, tone: Tone) -> None:
        """Show one stain alone, or more contrast, on both slides."""
        assert self._review is not None
        self.tone = tone
        self._sources = self._in_tone(self._review)
        self._show_anew()

    def follow_view(self) -> bool:
        """Let edge or squares go along with a view that has come to rest; return whether they did."""
        if self.look.mode == "blend":
            return False
        now = self._seen(self.look)
        rests = now == self._at_rest
        self._at_rest = now
        if not rests or now == self.look:
            return False
        self.set_look()
        return True

    @property
    def trouble(self) -> str:
        """Why a slide cannot be read now, in words, or nothing."""
        return "" if self.layer is None else trouble_of(self.layer)

    def _in_tone(self, review: Review) -> tuple[Source, Source]:
        """Return the fixed and the moved slide in the tone that is wanted."""
        return self.tone.of(review.fixed_source), self.tone.of(review.moved_source)

    def _levels(self) -> list[Level]:
        """Return both slides as they are wanted to look."""
        assert self._sources is not None
        return pyramid(Overlay(*self._sources, self.look))

    def _show_anew(self) -> None:
        if self.layer is not None:
            self.layer.data = self._levels()

    def _seen(self, look: Look) -> Look:
        """Return a look for what is in view now."""
        assert self._review is not None
        mpp, camera = self._review.pair.fixed_slide.mpp, self._viewer.scene.camera
        width_um = float(self._viewer.canvas.size[1]) / float(camera.zoom)
        to_world = Projective.affine(np.diag([mpp, mpp, 1.0])[:2])
        return seen(look, to_world, position_xy(camera.center), width_um)
