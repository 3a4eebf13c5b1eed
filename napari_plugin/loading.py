"""Load napari and look at the slides on threads, while the splash screen is kept alive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from qtpy.QtWidgets import QApplication

from napari_plugin.parts import load_first
from napari_plugin.splash import PICTURE_PX, Splash
from registration.errors import RegistrationError
from registration.geometry import Image
from registration.slides.slide import Slide

TURN_S = 0.01
MOST_PX = 2**26
"""A slide without a level as small as this takes too long to be looked at before the window is there."""

Found = tuple[int, Image]


def look_while_loading(splash: Splash, slides: Callable[[], Iterable[Slide]]) -> None:
    """Show the slides that ``slides`` opens, and return when that is done and napari's parts are loaded.

    What is wrong with a slide is told by who opens it next.
    """
    pictures: SimpleQueue[Found] = SimpleQueue()
    with ThreadPoolExecutor(2, "loading") as threads:
        running = [threads.submit(load_first), threads.submit(_look, slides, pictures.put)]
        while not all(one.done() for one in running):
            _show(splash, pictures)
            time.sleep(TURN_S)
        for one in running:
            one.result()
    _show(splash, pictures)


def slides_of_run(folder: Path) -> Iterator[Slide]:
    """Yield the H&E and the IHC slide of a run folder. Raises :class:`RegistrationError`."""
    from registration.result import Registration  # a picker is shown sooner without

    pair = Registration.load(folder).open_pair()
    with pair.he, pair.ihc:
        yield from (pair.he, pair.ihc)


def _look(slides: Callable[[], Iterable[Slide]], found: Callable[[Found], object]) -> None:
    """Hand over a picture of each slide that has a level small enough."""
    with suppress(RegistrationError):
        for number, slide in enumerate(slides()):
            smallest = min(level.size.width * level.size.height for level in slide.levels)
            if smallest <= MOST_PX:
                found((number, slide.thumbnail(PICTURE_PX)[0]))


def _show(splash: Splash, pictures: SimpleQueue[Found]) -> None:
    while not pictures.empty():
        splash.show_picture(*pictures.get())
    QApplication.processEvents()
