"""``python -m napari_plugin pick HE IHC`` and ``python -m napari_plugin review RUN``."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Open a window and return when it is closed: 0, or 2 where the input cannot be used."""
    given = _parser().parse_args(arguments)
    gc.disable()  # all that is loaded stays: looking through it again and again takes a second
    from qtpy.QtWidgets import QApplication

    from napari_plugin.splash import Splash

    _application = QApplication.instance() or QApplication([])  # Qt ends with the last name for it
    splash = Splash(*_titles(given))
    splash.appear()  # all that follows takes seconds to load
    from napari_plugin.loading import look_while_loading, slides_of_run

    request = None
    if given.command == "pick":
        from napari_plugin.picker.request import PairRequest

        asked = (given.he, given.ihc, given.landmarks, given.mpp_he, given.mpp_ihc)
        request = PairRequest(*asked, Path.cwd())
    look_while_loading(splash, lambda: request.slides if request else slides_of_run(given.run))
    import napari

    from napari_plugin.launch import open_picker, open_review

    if request is None:
        viewer, review = open_review(given.run)
        wrong = review.message.text() if review.review is None else ""
    else:
        viewer, picker = open_picker(request)
        asks = picker.session is None and not picker.asks_for_mpp
        wrong = picker.open_panel.message.text() if asks else ""
    splash.close()
    gc.freeze()
    gc.enable()
    if wrong:
        viewer.close()
        sys.stderr.write(f"error: {wrong}\n")
        return 2
    napari.run()
    return 0


def _titles(given: argparse.Namespace) -> tuple[str, tuple[str, str]]:
    """Return what the splash screen says, and what it calls the two slides."""
    if given.command == "review":
        return f"bci-pipeline opens the review of {given.run.name} …", ("H&E", "IHC")
    return "bci-pipeline opens …", (f"H&E:  {given.he.name}", f"IHC:  {given.ihc.name}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m napari_plugin")
    commands = parser.add_subparsers(dest="command", required=True)
    pick = commands.add_parser("pick", help="pick landmarks on a pair of slides")
    pick.add_argument("he", type=Path)
    pick.add_argument("ihc", type=Path)
    pick.add_argument("--landmarks")
    pick.add_argument("--mpp-he", type=float)
    pick.add_argument("--mpp-ihc", type=float)
    review = commands.add_parser("review", help="judge a finished registration")
    review.add_argument("run", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
