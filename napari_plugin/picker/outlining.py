"""Outlines in a picking session: drawn, painted, and said of pieces of tissue by clicking on them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from napari_plugin.picker.canvas import PairCanvas
from napari_plugin.picker.model import Picker
from napari_plugin.picker.outlines import draw_outline, show_outlines, start_brush
from napari_plugin.picker.picks import RefusedError
from napari_plugin.picker.pieces import Found, stroke
from napari_plugin.picker.regions import Region
from napari_plugin.picker.tools import PieceTool, ToolName
from napari_plugin.views import STAIN, XY, Side
from registration.geometry import Points

PAINTING = "Paint over what is to be left out; zoom in to paint finer"
DRAWING = "Click the corners of the region; Enter ends it"


class Outlining:
    """What is drawn on the slides, and the tools for it."""

    def __init__(
        self, picker: Picker, canvas: PairCanvas, look: Callable[[], Future[Found]]
    ) -> None:
        """``look`` begins to look for the pieces of tissue."""
        self._picker, self._canvas, self._look = picker, canvas, look
        self.tool: PieceTool | None = None
        self._pieces: Future[Found] | None = None
        self._drawn: tuple[object, int] | None = None

    @property
    def prompt(self) -> str:
        """What clicks are wanted for, where that is something else than pairs."""
        if self.tool is not None:
            return f"{self.tool.prompt} (Esc ends)"
        if self._canvas.is_drawing:
            return DRAWING
        return f"{PAINTING} (Esc ends)" if self._canvas.takes_press is not None else ""

    def put_away(self) -> bool:
        """Put the tool away, and keep what it was drawing; return whether there was one."""
        self._canvas.finish_drawn()
        had = self.tool is not None or self._canvas.takes_press is not None
        self.tool = self._canvas.takes_press = None
        return had

    def use_tool(self, name: ToolName) -> None:
        """Let the next clicks say something of pieces, which are shown for it."""
        self.put_away()
        if not self._picker.shows_found:
            self.show_pieces()
        self.tool = PieceTool(name)
        self._picker.say("")

    def use_brush(self, kind: str) -> None:
        """Let every press paint a region, until Esc."""
        self.put_away()

        def painted(side: Side, path: Points, radius: float) -> None:
            self._picker.draw(lambda now: now.with_outline(side, kind, stroke(path, radius)))

        start_brush(self._canvas, painted)
        self._picker.say("")

    def draw(self, side: Side, kind: str) -> None:
        """Let the next clicks outline a region of a slide."""
        self.put_away()

        def drawn(outline: Points) -> None:
            self._picker.draw(lambda now: now.with_outline(side, kind, outline))

        draw_outline(self._canvas, side, drawn)
        self._picker.say(f"Click the corners on the {STAIN[side]} slide, then press Enter.")

    def remove(self, side: Side, region: Region) -> None:
        """Remove an outline."""
        self._picker.draw(lambda now: now.regions.changed(side, [region]))

    def show_pieces(self) -> None:
        """Look for the pieces of tissue and outline them; asked again, hide them."""
        if self._picker.shows_found:
            self._picker.show_found({})
        elif self._pieces is None:
            self._pieces = self._look()
            self._picker.say("Looking for the pieces of tissue …")

    def poll(self) -> None:
        """Take up the pieces that were found. Raises :class:`SlideError` where a slide is gone."""
        if self._pieces is not None and self._pieces.done() and not self._canvas.is_drawing:
            found, self._pieces = self._pieces, None
            self._picker.message = ""
            self._picker.show_found(found.result())

    def clicked(self, side: Side, xy: XY) -> bool:
        """Give a click to the tool; return whether there is one."""
        if self.tool is None:
            return False
        if self._pieces is not None:
            self._picker.say("The pieces are still being looked for.")
            return True
        try:
            tool = self.tool.clicked(side, xy)
        except RefusedError as refusal:
            self._picker.say(str(refusal))
            return True
        self.tool = None if tool.is_done else tool
        if tool.is_done:
            self._picker.draw(tool.change)
        else:
            self._picker.say("")
        return True

    def refresh(self) -> None:
        """Draw the outlines that a person drew, and those of pieces that were found."""
        tissue = self._picker.tissue
        drawn = tissue.regions, id(tissue.found)
        if drawn != self._drawn:
            self._drawn = drawn
            show_outlines(self._canvas, tissue)
