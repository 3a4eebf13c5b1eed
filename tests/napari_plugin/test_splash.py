"""What is on the screen while napari loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registration.geometry import Image
from registration.slides.slide import Slide, open_slide
from registration.synth import SynthCase

pytestmark = pytest.mark.gui


@pytest.fixture
def splash(qapp: Any) -> Any:
    from napari_plugin.splash import Splash

    made = Splash("bci-pipeline opens …", ("H&E:  p1_he.ndpi", f"IHC:  {'long_' * 40}.ndpi"))
    made.appear()
    yield made
    made.close()


def shown(splash: Any, number: int) -> Image:
    """Return the pixels of one of its frames, ``(h, w, 3)``."""
    from qtpy.QtGui import QImage

    image = splash.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    bits = image.constBits()
    if hasattr(bits, "setsize"):  # PyQt's
        bits.setsize(image.sizeInBytes())
    rows = np.frombuffer(bits, np.uint8).reshape(image.height(), image.bytesPerLine())
    pixels = rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3)
    frame = splash.frame(number)
    return pixels[frame.top() : frame.bottom() + 1, frame.left() : frame.right() + 1].copy()


def test_both_slides_are_seen_beside_each_other(splash: Any, pair: SynthCase) -> None:
    from napari_plugin.loading import look_while_loading
    from napari_plugin.picker.request import PairRequest

    request = PairRequest(pair.he, pair.ihc)
    look_while_loading(splash, lambda: request.slides)

    for number, path in enumerate((pair.he, pair.ihc)):
        with open_slide(path) as slide:
            expected, _ = slide.thumbnail(max(shown(splash, number).shape))
        height, width, _ = expected.shape
        frame = shown(splash, number)
        top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
        np.testing.assert_array_equal(frame[top : top + height, left : left + width], expected)
    for slide in request.slides:
        slide.close()


def test_a_slide_that_cannot_be_opened_leaves_its_frame_empty(splash: Any, tmp_path: Path) -> None:
    from napari_plugin.loading import look_while_loading
    from napari_plugin.picker.request import PairRequest

    def slides() -> tuple[Slide, Slide]:
        return PairRequest(tmp_path / "none.ndpi", tmp_path / "neither.ndpi").slides

    look_while_loading(splash, slides)
    assert np.ptp(shown(splash, 0)) < 10
