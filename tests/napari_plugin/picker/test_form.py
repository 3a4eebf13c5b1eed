"""The form that opens a pair of slides, filled in by keys."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from registration.slides.slide import open_slide
from registration.synth import SynthCase
from tests.napari_plugin.conftest import Hand

pytestmark = [pytest.mark.gui, pytest.mark.slow, pytest.mark.timeout(1800)]

TYPED = "1.5"


def test_a_typed_scale_is_of_one_slide_and_told_where_the_file_says_another(
    desk: Hand, pair: SynthCase, tmp_path: Path
) -> None:
    from qtpy.QtTest import QTest

    desk.open_pair(pair.he, pair.ihc, tmp_path / "pairs.csv")
    desk.push("Close slides")
    form = desk.widget.open_panel
    QTest.keyClicks(form.mpp_he, TYPED)
    desk.push("Open both slides")
    said = desk.widget.panel.message.text()
    with open_slide(pair.he) as slide:
        stored = slide.mpp
    assert desk.session.he.mpp == float(TYPED)
    assert f"using {TYPED} µm/px as given; the file says {stored:.4g}" in said

    another = Path(shutil.copy(pair.he, tmp_path / "another.ndpi"))
    desk.open_pair(another, pair.ihc, tmp_path / "new.csv")

    assert desk.session.he.mpp == stored
    assert desk.widget.panel.message.text() == ""
    desk.push("Close slides")
