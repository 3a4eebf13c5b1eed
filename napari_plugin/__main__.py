"""``python -m napari_plugin pick HE IHC`` and ``python -m napari_plugin review RUN``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Open a window and return when it is closed: 0, or 2 where the input cannot be used."""
    given = _parser().parse_args(arguments)
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
    if wrong:
        viewer.close()
        sys.stderr.write(f"error: {wrong}\n")
        return 2
    napari.run()
    return 0


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
