"""``python -m napari_plugin pick HE IHC`` and ``python -m napari_plugin review RUN``."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

SPLASH_SIZE, SPLASH_COLOR = (460, 180), "#262930"
SHOWN_WITHIN_S = 2.0
"""What a display may take; a display that hides the window does not keep it from opening."""


def main(arguments: list[str] | None = None) -> int:
    """Open a window and return when it is closed: 0, or 2 where the input cannot be used."""
    given = _parser().parse_args(arguments)
    from qtpy.QtWidgets import QApplication

    application = QApplication.instance() or QApplication([])  # Qt ends with the last name for it
    opening = _splash(application, given)  # napari itself takes seconds to load
    import napari

    from napari_plugin.launch import open_picker, open_review

    if given.command == "review":
        viewer, review = open_review(given.run)
        wrong = review.message.text() if review.review is None else ""
    else:
        from napari_plugin.picker.session import PairRequest

        request = PairRequest(
            *(given.he, given.ihc, given.landmarks, given.mpp_he, given.mpp_ihc), Path.cwd()
        )
        viewer, picker = open_picker(request)
        asks = picker.session is None and not picker.asks_for_mpp
        wrong = picker.open_panel.message.text() if asks else ""
    with suppress(RuntimeError):  # napari has put away all splash screens, ours too
        opening.close()
    if wrong:
        viewer.close()
        sys.stderr.write(f"error: {wrong}\n")
        return 2
    napari.run()
    return 0


def _splash(application: Any, given: argparse.Namespace) -> Any:
    """Show what is being opened, at once."""
    from qtpy.QtCore import Qt
    from qtpy.QtGui import QColor, QPixmap
    from qtpy.QtWidgets import QSplashScreen

    ground = QPixmap(*SPLASH_SIZE)
    ground.fill(QColor(SPLASH_COLOR))
    splash = QSplashScreen(ground)
    names = [given.run] if given.command == "review" else [given.he, given.ihc]
    text = "bci-pipeline opens\n\n" + "\n".join(Path(name).name for name in names)
    splash.showMessage(text, Qt.AlignmentFlag.AlignCenter, QColor("white"))
    splash.show()
    until = time.monotonic() + SHOWN_WITHIN_S
    while not splash.windowHandle().isExposed() and time.monotonic() < until:
        application.processEvents()  # nothing is drawn before the display says that it may be
    splash.repaint()
    application.processEvents()
    return splash


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
