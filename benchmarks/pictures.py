"""Draw the pictures of README and docs: ``python -m benchmarks.pictures``.

Runs the demo, draws what it registered, and photographs its report where there is a Chromium. With
``--cohort FOLDER``, what ``python -m benchmarks.cohort_trial --work FOLDER`` made: its page, and a
section in every stain. All tissue in the pictures is synthetic.
"""

from __future__ import annotations

import argparse
import base64
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

from benchmarks.browser import Browser, find_chromium
from pipeline.cohort.page import PAGE_NAME
from pipeline.demo import Demo, run_demo
from pipeline.report.places import choose_places
from pipeline.report.registration import REPORT_NAME
from pipeline.report.views import FieldView, views
from registration.execution import no_progress
from registration.geometry import Image, axis_positions, mesh
from registration.pair import SlidePair
from registration.result import Registration
from registration.synth import SynthSettings, render_pair
from registration.synth.settings import STAINS
from registration.tissue import TissueMap

CASE = "case02"
PANEL_PX = 460
GAP_PX = 10
LABEL_PX = 34
SQUARES = 8
MOST_BYTES = 300_000
PAGE_WIDTH = 1180
COHORT_PX = 700
ALL_PICTURES = """Promise.all([...document.images].map((image) => {
  image.loading = "eager"
  return image.decode().catch(() => null)
})).then(() => null)"""
"""Those below the window too."""
SECTIONS = ("displacement", "residual", "blocks")
BOXES = """Object.fromEntries(
  [...document.querySelectorAll("main > section, header.top")].map((part) => {
    const box = part.getBoundingClientRect();
    return [part.id || "top", [box.left, box.top + scrollY, box.width, box.height].map(Math.round)];
  })
)"""
"""Left, top, width and height of every section, by its id."""


def main() -> int:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("demo"), help="folder of the demo")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--size", type=int, default=4096, help="pixels a side of the slides")
    parser.add_argument("--cohort", type=Path, help="folder of a trial: draw its pictures alone")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.cohort is not None:
        print(_saved(options.out / "stains.jpg", stains()))
        for name, image in of_cohort(options.cohort / "cohort" / PAGE_NAME).items():
            print(_saved(options.out / f"{name}.jpg", image))
        return 0
    demo = Demo(options.work, options.size)
    run_demo(demo, no_progress, lambda title: print(title, file=sys.stderr))
    registration = demo.registrations[CASE]
    pair = registration.open_pair()
    for name, image in drawn(registration, pair).items():
        print(_saved(options.out / f"{name}.jpg", image))
    if find_chromium() is None:
        print("no Chromium here: the pictures of the report stay as they are", file=sys.stderr)
        return 0
    for name, image in photographed(registration.folder / REPORT_NAME).items():
        print(_saved(options.out / f"report-{name}.jpg", image))
    return 0


def drawn(registration: Registration, pair: SlidePair) -> dict[str, Image]:
    """Return the pictures that are drawn from slides."""
    places = choose_places(registration, pair, TissueMap.of(pair.fixed_slide))
    found = {view.key: view for view in views(registration, pair, places)}
    whole, field, detail = (found[key] for key in ("whole", "typical-field", "typical-detail"))
    overview = _row(
        [
            _panel(_decoded(whole.states["scanned"]), "H&E, as scanned"),
            _panel(_decoded(whole.fixed), "IHC, as scanned"),
            _panel(_checkered(whole, "registered"), "both, H&E registered to IHC"),
        ]
    )
    zooms = [
        _row(
            [
                _panel(_checkered(view, state), f"{words}, {view.extent}")
                for state, words in (
                    ("scanned", "as scanned"),
                    ("projective", "after the projective step"),
                    ("registered", "registered"),
                )
            ]
        )
        for view in (field, detail)
    ]
    return {"overview": overview, "zooms": _column(zooms)}


def stains() -> Image:
    """Return an H&E section beside its stains, in its frame."""
    settings = SynthSettings(size=1024, seed=1, her2="3+")
    panels = []
    for stain in STAINS:
        he, ihc, ihc_to_he = render_pair(replace(settings, stain=stain))
        height, width = he.shape[:2]
        points = mesh(axis_positions(0, width), axis_positions(0, height))
        where = ihc_to_he.inverse(points).reshape(height, width, 2).astype(np.float32)
        warped = cv2.remap(ihc, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        panels += [] if panels else [_panel(he, "H&E")]
        panels.append(_panel(np.asarray(warped, np.uint8), stain))
    return _row(panels)


def of_cohort(page: Path) -> dict[str, Image]:
    """Return the page of a cohort as a browser shows it, and its stains beside each other."""
    with Browser() as browser:
        browser.open(page, (PAGE_WIDTH, 900))
        browser.evaluate(ALL_PICTURES)
        boxes = browser.evaluate(BOXES)
        shot = np.frombuffer(browser.screenshot(), np.uint8)
    image = np.asarray(cv2.imdecode(shot, cv2.IMREAD_COLOR)[..., ::-1], np.uint8)
    x, y, width, height = boxes["stains"]
    return {
        "cohort": image[: boxes["cases"][1] + COHORT_PX],
        "cohort-stains": image[y : y + min(height, COHORT_PX), x : x + width],
    }


def photographed(report: Path) -> dict[str, Image]:
    """Return the report's top and some of its sections as a browser shows them.

    Measured and photographed in the same window: its width decides how long a section is.
    """
    with Browser() as browser:
        browser.open(report, (PAGE_WIDTH, 900))
        boxes = browser.evaluate(BOXES)
        shot = np.frombuffer(browser.screenshot(), np.uint8)
    image = np.asarray(cv2.imdecode(shot, cv2.IMREAD_COLOR)[..., ::-1], np.uint8)
    x, _, width, _ = boxes["overlay"]
    bottom = boxes["overlay"][1] + boxes["overlay"][3]
    parts = {"top": image[:bottom, max(0, x - 24) : x + width + 24]}
    for name in SECTIONS:
        x, y, width, height = boxes[name]
        parts[name] = image[y : y + height, x : x + width]
    return parts


def _decoded(uri: str) -> Image:
    data = np.frombuffer(base64.b64decode(uri.split(",", 1)[1]), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1], np.uint8)


def _checkered(view: FieldView, state: str) -> Image:
    """Return squares of both slides in turn."""
    fixed, moving = _decoded(view.fixed), _decoded(view.states[state])
    rows, columns = (np.arange(side) * SQUARES // side for side in fixed.shape[:2])
    odd = (rows[:, None] + columns) % 2 == 1
    return np.where(odd[..., None], moving, fixed)


def _panel(image: Image, label: str) -> Image:
    """Return an image of the common size with its label above."""
    scale = PANEL_PX / image.shape[1]
    size = (PANEL_PX, round(image.shape[0] * scale))
    canvas = Pictures.new("RGB", (size[0], size[1] + LABEL_PX), "white")
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas.paste(Pictures.fromarray(cv2.resize(image, size, interpolation=how)), (0, LABEL_PX))
    font = ImageFont.load_default(19)
    ImageDraw.Draw(canvas).text((2, 5), label, fill=(30, 34, 40), font=font)
    return np.asarray(canvas)


def _row(images: list[Image]) -> Image:
    gap = np.full((images[0].shape[0], GAP_PX, 3), 255, np.uint8)
    return np.hstack([part for image in images for part in (gap, image)][1:])


def _column(images: list[Image]) -> Image:
    gap = np.full((GAP_PX, images[0].shape[1], 3), 255, np.uint8)
    return np.vstack([part for image in images for part in (gap, image)][1:])


def _saved(path: Path, image: Image) -> str:
    """Write a JPEG of at most :data:`MOST_BYTES` and say how large it is."""
    for quality in (88, 82, 75, 68, 60, 50):
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), options)
        if len(encoded) <= MOST_BYTES:
            break
    path.write_bytes(encoded.tobytes())
    return f"{path}  {image.shape[1]} x {image.shape[0]} px, {len(encoded) / 1000:.0f} kB"


if __name__ == "__main__":
    sys.exit(main())
