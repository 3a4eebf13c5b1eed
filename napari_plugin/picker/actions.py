"""What keys do while a pair of slides is open: one list, for the bindings and for the help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from napari import Viewer
from napari.layers import Layer

from napari_plugin.picker.session import SHARE_STEP, TURN_DEG, ZOOM_STEP, Session


@dataclass(frozen=True)
class Action:
    """Something a key does."""

    keys: tuple[str, ...]
    """As napari writes them."""
    shown: str
    """As people read them."""
    text: str
    run: Callable[[], object]


def actions_of(session: Session) -> list[Action]:
    """Return the actions of a picking session, in the order of the help."""
    on_pairs, on_views = (
        partial(_action, allowed) for allowed in (session.while_picking, session.while_shown)
    )
    return [*_on_pairs(session, on_pairs), *_on_views(session, on_views)]


def _action(
    allowed: Callable[[Callable[[], object]], None],
    keys: str,
    shown: str,
    text: str,
    run: Callable[[], object],
) -> Action:
    """Return an action that does nothing while a review is open."""
    return Action(tuple(keys.split()), shown, text, lambda: allowed(run))


def _on_pairs(session: Session, act: Callable[..., Action]) -> list[Action]:
    """Return what is done to pairs and their marks."""
    picker = session.picker
    return [
        act("Enter", "Enter", "accept the proposed pair", session.accept),
        act("Delete Backspace", "Delete", "delete or reject the selected pair", session.delete),
        act("Escape", "Esc", "put the tool away, or drop the half picked pair", session.escape),
        act("Control-Z", "Ctrl+Z", "undo", picker.undo),
        act("Control-Shift-Z Control-Y", "Ctrl+Shift+Z", "redo", picker.redo),
        act("Down", "↓", "go to the next pair", lambda: session.step(1)),
        act("Up", "↑", "go to the pair before", lambda: session.step(-1)),
        act("J", "J", "go to the selected pair", session.go_to),
        act("E", "E", "use the selected pair, or not", picker.toggle),
        act(
            "M",
            "M",
            "match the selected pair here: its IHC place by the images",
            session.match_here,
        ),
        act("H", "H", "hide or show all marks", session.toggle_marks),
        act("Z", "Z", "loupe: both places at high zoom, or not", session.toggle_loupe),
        act("G", "G", "suggest pairs", session.suggest),
        act("A", "A", "accept all suggestions", picker.accept_all),
        act("Shift-A", "Shift+A", "reject all suggestions", picker.reject_suggestions),
    ]


def _on_views(session: Session, act: Callable[..., Action]) -> list[Action]:
    """Return what changes how the slides are seen."""
    preview = session.preview
    return [
        act("R", "R", "turn H&E to the right", lambda: session.turn("he", TURN_DEG)),
        act("Shift-R", "Shift+R", "turn H&E to the left", lambda: session.turn("he", -TURN_DEG)),
        act("F", "F", "flip H&E", lambda: session.flip("he")),
        act("] C", "C or ]", "enlarge H&E", lambda: session.zoom("he", ZOOM_STEP)),
        act("[ Shift-C", "Shift+C or [", "shrink H&E", lambda: session.zoom("he", 1 / ZOOM_STEP)),
        act("T", "T", "turn IHC to the right", lambda: session.turn("ihc", TURN_DEG)),
        act("Shift-T", "Shift+T", "turn IHC to the left", lambda: session.turn("ihc", -TURN_DEG)),
        act("Shift-F", "Shift+F", "flip IHC", lambda: session.flip("ihc")),
        act("' B", "B or '", "enlarge IHC", lambda: session.zoom("ihc", ZOOM_STEP)),
        act("; Shift-B", "Shift+B or ;", "shrink IHC", lambda: session.zoom("ihc", 1 / ZOOM_STEP)),
        act("L", "L", "IHC follows H&E, or not", session.toggle_following),
        act("W Home", "W", "both slides whole", session.fit),
        act("U 0", "U or 0", "both slides whole and upright", session.upright),
        act("V", "V", "preview: blend, checkerboard, swipe, off", preview.next_look),
        act("X", "X", "preview: whole window, or right half", preview.toggle_filling),
        act("P", "P", "preview: bend through the pairs, or not", preview.toggle_bending),
        act("S", "S", "colours, haematoxylin, DAB", preview.next_channel),
        act(". I", "I or .", "preview: more H&E", lambda: preview.shift_look(SHARE_STEP)),
        act(
            ", Shift-I",
            "Shift+I or ,",
            "preview: less H&E",
            lambda: preview.shift_look(-SHARE_STEP),
        ),
    ]


NAPARIS_OWN = (
    *("Control-G", "Control-E", "Control-T", "Control-Alt-T", "Control-Y", "Shift-V"),
    *("Control-Delete", "Control-Backspace", "Control-Up", "Control-Down"),
    *("Shift-Alt-Up", "Shift-Alt-Down", "Alt-Up", "Alt-Down", "Left", "Right"),
    *(str(digit) for digit in range(1, 10)),
)
"""napari's keys that move, hide or delete layers, or the grid: they do nothing while one picks."""


class Bindings:
    """Key bindings of a viewer that can be taken back; ``layers`` are those of the session.

    What keys do on one of these layers is bound too: otherwise napari's own meaning would go first.
    """

    def __init__(
        self, viewer: Viewer, actions: Sequence[Action], layers: Sequence[Layer] = ()
    ) -> None:
        self._viewer, self._layers = viewer, tuple(layers)
        before = dict(viewer.keymap)
        for key in NAPARIS_OWN:
            viewer.bind_key(key, _nothing, overwrite=True)
        for layer in layers:
            for kind in type(layer).__mro__:
                for key in getattr(kind, "class_keymap", ()):
                    layer.bind_key(key, _nothing, overwrite=True)
        for action in actions:
            for key in action.keys:
                for holder in (viewer, *layers):
                    holder.bind_key(key, _handler(action), overwrite=True)
        self._replaced = {
            key: before.get(key) for key in viewer.keymap if _is_new(key, before, viewer)
        }

    def close(self) -> None:
        """Give every key its former meaning; the layers go with the session, and hold nothing of it."""
        for layer in self._layers:
            layer.keymap.clear()
        self._layers = ()
        for key, former in self._replaced.items():
            if former is None:
                self._viewer.keymap.pop(key, None)
            else:
                self._viewer.keymap[key] = former
        self._replaced = {}


def _is_new(key: Any, before: dict[Any, Any], viewer: Viewer) -> bool:
    return key not in before or viewer.keymap[key] is not before[key]


def _nothing(_: object) -> None:
    """Do nothing while a pair of slides is open."""


def _handler(action: Action) -> Callable[[object], None]:
    def handle(_: object) -> None:
        action.run()

    handle.__doc__ = action.text
    return handle
