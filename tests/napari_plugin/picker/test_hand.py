"""What a person does by mouse and keys, and what must not happen then: nothing lost, nothing invented.

One window serves all of these tests; each opens its slides in it.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import cv2
import numpy as np
import pytest

from napari_plugin.views import Side
from registration.geometry import Size, farthest_first
from registration.landmarks.landmarks import Landmarks, read_landmarks, write_landmarks
from registration.pieces.drawn import read_drawn
from registration.result import Registration
from registration.slides.slide import open_slide
from registration.slides.tile_cache import TileCache
from registration.synth import SynthCase, SynthSettings, write_case
from tests.napari_plugin.conftest import Hand

pytestmark = [pytest.mark.gui, pytest.mark.timeout(1800)]  # on a machine that may be busy


EVERY_KEYBOARD = (*ascii_uppercase, "Enter", "Delete", "Escape", "Up", "Down", "Home")
SCROLL_BAR_PX = 24
MARK_RADIUS_PX, NUMBER_PX = 7, 45
WEIGHTS = np.array([0.2126, 0.7152, 0.0722])
"""Of red, green and blue in the luminance of sRGB."""


@pytest.fixture
def six(exact: Landmarks, tmp_path: Path) -> Path:
    """A file of six exact pairs."""
    path = tmp_path / "six.csv"
    write_landmarks(path, exact.take(np.array(farthest_first(exact.he, 6, 0))))
    return path


@pytest.fixture(scope="module")
def mismatched(tmp_path_factory: pytest.TempPathFactory) -> SynthCase:
    """Slides of another specimen."""
    settings = SynthSettings(size=Size(1280, 1024), seed=77, her2="0")
    return write_case(tmp_path_factory.mktemp("stranger"), settings, name="p2")


@pytest.mark.slow
def test_the_pairs_of_another_slide_are_refused_in_the_form(
    desk: Hand, pair: SynthCase, exact: Landmarks, tmp_path: Path
) -> None:
    path = tmp_path / "pairs.csv"
    desk.open_pair(pair.he, pair.ihc, path)
    desk.click("he", tuple(exact.he[0]))
    desk.click("ihc", tuple(exact.ihc[0]))
    before = path.read_bytes()

    desk.open_pair(pair.he, pair.he.with_name("p1_he.ndpi"), path)  # the same file twice
    assert "the same file" in desk.widget.open_panel.message.text()
    desk.open_pair(pair.ihc, pair.he, path)

    assert desk.session is None
    assert "another H&E slide" in desk.widget.open_panel.message.text()
    assert path.read_bytes() == before


@pytest.mark.slow
def test_while_a_review_is_open_nothing_edits_the_pairs(
    desk: Hand, pair: SynthCase, exact: Landmarks, six: Path, run: Path
) -> None:
    desk.open_pair(pair.he, pair.ihc, six)
    desk.push("Both upright")
    before = desk.picks
    view = desk.viewer.scene.camera.zoom
    panel = desk.widget.panel.run
    panel.out.set(run)
    desk.widget.panel.tabs.setCurrentIndex(1)
    desk.push("Review the earlier run")
    height, width = desk.viewer.canvas.size

    for pixel in ((width // 4, height // 2), (3 * width // 4, height // 2)):
        desk.press(pixel)
    for key in ("Return", "Delete", "E", "A"):
        desk.key(key)
    desk.key("Z", ctrl=True)
    assert desk.picks == before
    assert desk.widget.panel.headline.text().startswith("The slides are hidden")

    review = desk.widget.panel._reviewing
    review.parent().hide()  # the eye of its dock
    desk.wait(0.1)
    assert desk.viewer.canvas.grid.enabled
    assert desk.viewer.scene.camera.zoom == pytest.approx(view)
    assert desk.click("he", tuple(exact.he[40]))
    assert len(desk.picks.pairs) == len(before.pairs) + 1
    desk.key("Escape")

    desk.push("Review the earlier run")  # the same review, not a second one
    desk.wait_for(lambda: review.is_settled)
    names = [layer.name for layer in desk.viewer.layers]
    assert names.count("blocks") == 1
    desk.viewer.window.remove_dock_widget(review)
    desk.wait(0.1)
    assert [layer.name for layer in desk.viewer.layers if layer.visible] == [
        *("H&E", "H&E points", "IHC", "IHC points")
    ]


@pytest.mark.slow
def test_on_glass_nothing_is_proposed(desk: Hand, pair: SynthCase, six: Path) -> None:
    desk.open_pair(pair.he, pair.ihc, six)

    desk.click("he", (4.0, 4.0))
    desk.wait_for(lambda: not desk.session.is_working)

    assert desk.picks.half is not None
    assert "No tissue" in desk.widget.panel.message.text()
    desk.key("Return")
    assert len(read_landmarks(six)) == 6
    desk.key("Escape")
    assert desk.picks.half is None


@pytest.mark.slow
def test_pairs_are_not_lost_with_the_folder_they_were_saved_in(
    desk: Hand, pair: SynthCase, exact: Landmarks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    share = tmp_path / "share"
    share.mkdir()
    desk.open_pair(pair.he, pair.ihc, share / "pairs.csv")
    shown = desk.widget.panel.file
    desk.click("he", tuple(exact.he[0]))
    desk.click("ihc", tuple(exact.ihc[0]))
    assert shown.text().startswith("Saved as you click")
    shutil.rmtree(share)
    share.touch()

    desk.click("he", tuple(exact.he[50]))
    desk.click("ihc", tuple(exact.ihc[50]))
    assert shown.text().startswith("NOT SAVED")
    desk.push("Close slides")

    assert "its pairs are in" in desk.widget.open_panel.message.text()
    assert len(read_landmarks(tmp_path / "pairs.csv", minimum=0)) == 2


def outlined(desk: Hand) -> None:
    """Outline a triangle on the H&E slide, corner by corner."""
    desk.session.show_place((300.0, 280.0))
    desk.wait(0.2)
    desk.push("Draw on H&&E")
    for corner in ((200.0, 150.0), (420.0, 160.0), (380.0, 400.0)):
        desk.press(desk.on_canvas("he", corner))
    desk.key("Return")
    desk.wait_for(lambda: desk.session.canvas.is_picking)


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["folder", "file"])
def test_outlines_that_cannot_be_saved_are_written_elsewhere(
    desk: Hand, pair: SynthCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.chdir(tmp_path)
    share = tmp_path / "share"
    share.mkdir()
    desk.open_pair(pair.he, pair.ihc, share / "pairs.csv")
    if lost == "folder":
        share.rmdir()
        share.touch()
    else:
        (share / "pairs_he.geojson").mkdir()  # no file can have this name

    outlined(desk)

    assert desk.widget.panel.message.text().startswith("Not saved")
    assert desk.widget.panel.file.text().startswith("NOT SAVED")
    desk.widget.panel.run.run()
    assert desk.widget.panel.run.status.text().startswith("Not started")
    desk.push("Close slides")
    said = desk.widget.open_panel.message.text()
    assert said.endswith(f"its outlines are in {tmp_path / 'pairs_he.geojson'}.")
    assert len(read_drawn(tmp_path / "pairs_he.geojson").left_out) == 1


@pytest.mark.slow
def test_outlines_that_somebody_else_changed_stay_and_ours_go_on_beside(
    desk: Hand, pair: SynthCase, six: Path
) -> None:
    desk.open_pair(pair.he, pair.ihc, six)
    outlined(desk)
    theirs = six.with_name("six_he.geojson")
    theirs.write_text('{"type": "FeatureCollection", "features": []}', encoding="utf-8")
    before = theirs.read_bytes()

    desk.push("Remove")
    desk.key("Z", ctrl=True)

    assert theirs.read_bytes() == before
    assert len(read_drawn(six.with_name("six_2_he.geojson")).left_out) == 1
    assert len(read_landmarks(six.with_name("six_2.csv"))) == 6
    assert desk.widget.panel.file.text().endswith("six_2.csv")
    desk.push("Close slides")
    assert desk.widget.open_panel.message.text() == ""


@pytest.mark.slow
def test_a_pair_is_deleted_while_its_points_are_hidden(
    desk: Hand, pair: SynthCase, six: Path
) -> None:
    desk.open_pair(pair.he, pair.ihc, six)
    table = desk.widget.panel.pairs.table
    desk.viewer.layers["IHC points"].visible = False  # the eye of napari's layer list
    desk.session.picker.select("5") if "5" in read_landmarks(six).names else None
    desk.key("Down")
    name = desk.picks.selected

    desk.key("Delete")

    assert table.rowCount() == 5
    assert name not in read_landmarks(six).names
    assert desk.widget.panel.pairs.undo.isEnabled()
    desk.viewer.layers["IHC points"].visible = True
    assert len(desk.viewer.layers["IHC points"].data) == 5
    desk.key("Z", ctrl=True)
    assert len(desk.viewer.layers["IHC points"].data) == 6


@pytest.mark.slow
def test_naparis_own_keys_move_neither_grid_nor_slides(
    desk: Hand, pair: SynthCase, six: Path
) -> None:
    desk.open_pair(pair.he, pair.ihc, six)
    image = desk.viewer.layers["H&E"]
    places = [layer.affine.affine_matrix.copy() for layer in desk.viewer.layers]

    desk.key("G", ctrl=True)
    desk.key("2")
    desk.key("T", ctrl=True)
    desk.key("V", shift=True)
    image.mode = "transform"  # the button of napari's layer controls
    middle = desk.on_canvas("he", (1250.0, 20.0))
    desk.drag(middle, (middle[0] + 50, middle[1] + 20))

    assert desk.viewer.canvas.grid.enabled
    assert [layer.visible for layer in desk.viewer.layers] == [True] * 4
    assert str(image.mode) == "pan_zoom"
    for layer, place in zip(desk.viewer.layers, places, strict=True):
        np.testing.assert_allclose(layer.affine.affine_matrix, place)
    assert len(read_landmarks(six)) == 6


@pytest.mark.slow
def test_the_panel_fits_a_small_screen_and_every_keyboard_has_the_keys(
    desk: Hand, pair: SynthCase, six: Path
) -> None:
    from napari_plugin.picker.actions import actions_of
    from napari_plugin.picker.widget import WIDTH_PX

    desk.open_pair(pair.he, pair.ihc, six)
    least = desk.widget.minimumSizeHint()
    window = desk.viewer.window._qt_window

    assert least.width() <= 1280 - 2 * 400  # each slide has 400 px
    assert least.height() <= 800 - 36 - window.menuBar().height() - window.statusBar().height()
    for page in (desk.widget.panel.pairs, desk.widget.panel.compare, desk.widget.panel.regions):
        assert page.minimumSizeHint().width() <= WIDTH_PX - SCROLL_BAR_PX, page
    for number in range(desk.widget.panel.tabs.count()):
        desk.widget.panel.tabs.setCurrentIndex(number)
        desk.wait(0.1)
        assert desk.widget.panel.tabs.widget(number).horizontalScrollBar().maximum() == 0, number
    desk.widget.panel.tabs.setCurrentIndex(0)
    for action in actions_of(desk.session):
        assert any(key.split("-")[-1] in EVERY_KEYBOARD for key in action.keys), action.text


def contrast(text: Any, ground: Any) -> float:
    """Return the contrast ratio of WCAG 2.1 (success criterion 1.4.3)."""

    def luminance(color: Any) -> float:
        rgb = np.array(color.getRgbF()[:3])
        return float(
            np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ WEIGHTS
        )

    dark, light = sorted((luminance(text), luminance(ground)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.slow
def test_warnings_can_be_read_in_either_theme_also_after_a_change(
    desk: Hand, pair: SynthCase, six: Path
) -> None:
    from napari.utils.theme import get_theme
    from qtpy.QtGui import QColor, QPalette

    pairs = read_landmarks(six)
    moved = pairs.ihc + np.where(np.arange(6)[:, None] == 3, (150.0, -110.0), 0.0)
    write_landmarks(six, Landmarks.of(pairs.he, moved))
    desk.open_pair(pair.he, pair.ihc, six)
    panel = desk.widget.panel
    for theme in ("light", "dark"):
        desk.viewer.theme = theme
        desk.wait(0.2)
        ground = QColor(get_theme(theme).background.as_hex())
        message = panel.message.palette().color(QPalette.ColorRole.WindowText)
        alarms = [
            state.foreground().color()
            for row in range(panel.pairs.table.rowCount())
            if (state := panel.pairs.table.item(row, 4)).text().startswith("⚠")
        ]
        assert alarms
        for color in (message, *alarms):
            assert contrast(color, ground) > 4.5, (theme, color.name())


@pytest.mark.slow
def test_marks_hide_keep_their_size_and_the_whole_view_keeps_following(
    desk: Hand, pair: SynthCase, six: Path
) -> None:
    desk.open_pair(pair.he, pair.ihc, six)
    points = desk.viewer.layers["H&E points"]
    for zoom in (0.3, 2.0):
        desk.viewer.scene.camera.zoom = zoom
        assert points.size[0] * zoom == pytest.approx(14)  # pixels of the screen

    desk.key("H")
    assert not points.visible
    desk.key("H")
    assert points.visible
    desk.key("0")
    assert desk.session.views.follows
    turned = desk.session.views.ihc.matrix[:2, :2]
    assert abs(math.degrees(math.atan2(turned[1, 0], turned[0, 0]))) > 10  # as the pairs say


@pytest.mark.slow
def test_numbers_stand_beside_their_marks_away_from_the_nearest(
    desk: Hand, pair: SynthCase, tmp_path: Path
) -> None:
    he = np.array([(500, 300), (500, 520), (800, 700), (100, 100), (1000, 700)], float)
    beside = {0: (0, -1), 1: (0, 1), 2: (-1, 0), 4: (1, 0)}  # the fourth has a black mark
    write_landmarks(tmp_path / "five.csv", Landmarks.of(he, he - 20))
    desk.open_pair(pair.he, pair.ihc, tmp_path / "five.csv")
    places = {number: desk.on_canvas("he", tuple(he[number])) for number in beside}
    for name in ("H&E", "IHC"):
        desk.viewer.layers[name].visible = False

    shown = desk.viewer.screenshot(canvas_only=True, flash=False)[..., :3]
    dark = np.argwhere((shown < 90).all(axis=2))[:, ::-1]
    for number, (x, y) in beside.items():
        from_mark = dark - places[number]
        distance = np.linalg.norm(from_mark, axis=1)
        digit = from_mark[distance < NUMBER_PX].mean(axis=0)
        assert distance.min() > MARK_RADIUS_PX, number + 1
        assert digit @ (x, y) > MARK_RADIUS_PX, number + 1
        assert abs(digit @ (y, x)) < MARK_RADIUS_PX, number + 1


@pytest.mark.slow
def test_the_loupe_shows_both_places_and_matching_mends_a_point(
    desk: Hand, pair: SynthCase, exact: Landmarks, six: Path
) -> None:
    desk.open_pair(pair.he, pair.ihc, six)
    desk.key("Down")
    name = desk.picks.selected
    right = np.array(desk.picks.pair(name).ihc)
    desk.key("J")
    begin = desk.on_canvas("ihc", tuple(right))
    desk.drag(begin, (begin[0] + 16, begin[1] - 12))
    astray = np.hypot(*(np.array(desk.picks.pair(name).ihc) - right))

    desk.push("Match here")
    desk.wait_for(lambda: not desk.session.is_working)

    assert np.hypot(*(np.array(desk.picks.pair(name).ihc) - right)) < min(astray, 12)
    loupe = desk.widget.panel.loupe
    assert loupe.isVisible()
    desk.key("Z")
    assert not loupe.isVisible()


@pytest.mark.slow
def test_a_region_to_leave_out_is_drawn_kept_and_given_to_register(
    desk: Hand, pair: SynthCase, six: Path
) -> None:
    desk.open_pair(pair.he, pair.ihc, six)
    corners = [(200.0, 150.0), (420.0, 160.0), (380.0, 400.0)]
    desk.session.show_place((300.0, 280.0))  # near enough that a pixel of the screen is small
    desk.wait(0.2)

    desk.push("Draw on H&&E")
    for corner in corners:
        desk.press(desk.on_canvas("he", corner))
    desk.key("Return")
    desk.wait_for(lambda: desk.session.canvas.is_picking)

    assert len(desk.picks.pairs) == 6  # corners are no points
    drawn = read_drawn(six.with_name("six_he.geojson"))
    np.testing.assert_allclose(drawn.left_out[0][0][:3], corners, atol=3)
    assert "--pieces" in desk.widget.panel.run.command.toPlainText()
    desk.push("Remove")
    assert not six.with_name("six_he.geojson").exists()


@pytest.mark.slow
def test_a_guess_is_never_accepted_by_enter_and_unconfirmed_pairs_say_so(
    desk: Hand, pair: SynthCase, mismatched: SynthCase, six: Path
) -> None:
    file = six.with_name("others.csv")
    write_landmarks(file, read_landmarks(six))  # which names no slides
    desk.open_pair(pair.he, mismatched.ihc, file)
    table, panel = desk.widget.panel.pairs.table, desk.widget.panel
    tissue = [tuple(point) for point in read_landmarks(pair.truth).he[::7].tolist()]

    for place in tissue:  # until the images show no match
        desk.click("he", place)
        desk.wait_for(lambda: not desk.session.is_working)
        if desk.picks.proposals and desk.picks.proposals[0].proposal == "guess":
            break
        desk.key("Escape")
    assert "guess" in panel.headline.text()
    desk.key("Return")
    row = table.rowCount() - 1
    assert (table.item(row, 2).text(), table.item(row, 4).text()) == ("", "⚠ guess, no match")
    assert len(read_landmarks(file)) == 6
    desk.key("Escape")

    desk.push("Suggest pairs")
    desk.wait_for(lambda: desk.session.suggesting is None)
    assert "NOT CONFIRMED" in panel.headline.text()
    assert table.item(table.rowCount() - 1, 4).text() == "⚠ not confirmed"
    desk.push("Accept all")
    assert len(read_landmarks(file)) == 6
    assert "not confirmed" in panel.message.text()


@pytest.mark.slow
def test_pieces_are_paired_cut_and_marked_by_clicks_and_undone(
    desk: Hand, pair: SynthCase, six: Path
) -> None:
    desk.open_pair(pair.he, pair.ihc, six)
    he, ihc = (desk.session.picker.frames[side].size for side in ("he", "ihc"))
    middles = [((size.width - 1) / 2, (size.height - 1) / 2) for size in (he, ihc)]

    desk.push("Pair")
    desk.wait_for(lambda: desk.session.picker.shows_found)
    desk.press(desk.on_canvas("ihc", middles[1]))  # the wrong slide first
    assert "this was the IHC slide" in desk.widget.panel.message.text()
    for side, middle in zip(("he", "ihc"), middles, strict=True):
        desk.press(desk.on_canvas(side, middle))
    for side in ("he", "ihc"):
        assert set(read_drawn(six.with_name(f"six_{side}.geojson")).pieces) == {"piece 1"}

    desk.push("Cut")
    desk.press(desk.on_canvas("he", (middles[0][0], 2.0)))
    desk.press(desk.on_canvas("he", (middles[0][0], he.height - 3.0)))
    assert len(read_drawn(six.with_name("six_he.geojson")).pieces) == 2
    desk.push("Control")
    desk.press(desk.on_canvas("he", (middles[0][0] - 150, middles[0][1])))
    drawn = read_drawn(six.with_name("six_he.geojson"))
    assert (len(drawn.pieces), len(drawn.left_out) > 0) == (1, True)
    assert "--pieces" in desk.widget.panel.run.command.toPlainText()

    for _ in range(3):
        desk.key("Z", ctrl=True)
    assert not six.with_name("six_he.geojson").exists()
    assert desk.session.picker.pieces_argument is None
    desk.push("Hide pieces")
    assert len(desk.picks.pairs) == 6


@pytest.mark.slow
def test_a_brush_paints_what_is_left_out(desk: Hand, pair: SynthCase, six: Path) -> None:
    desk.open_pair(pair.he, pair.ihc, six)
    path = [(300.0, 300.0), (700.0, 420.0)]

    desk.push("Brush")
    desk.drag(*(desk.on_canvas("he", place) for place in path))
    desk.drag(*(desk.on_canvas("he", (x, 760.0 - y)) for x, y in path))  # across the first
    desk.key("Escape")

    [[outline]] = read_drawn(six.with_name("six_he.geojson")).left_out
    for x, y in (*path, (500.0, 360.0)):
        assert cv2.pointPolygonTest(outline.astype(np.float32), (x, y), measureDist=True) > 5
    assert cv2.pointPolygonTest(outline.astype(np.float32), (500.0, 500.0), measureDist=True) < 0
    desk.key("Z", ctrl=True)
    desk.key("Z", ctrl=True)
    assert not six.with_name("six_he.geojson").exists()
    desk.click("he", tuple(read_landmarks(pair.truth).he[40]))  # picks again
    assert len(desk.picks.pairs) == 7
    desk.key("Escape")


@pytest.mark.slow
def test_a_swipe_fills_the_window_and_its_edge_is_dragged_in_the_image(
    desk: Hand, pair: SynthCase, six: Path
) -> None:
    desk.open_pair(pair.he, pair.ihc, six)
    preview, canvas = desk.session.preview, desk.session.canvas
    desk.key("0")
    for _ in range(3):
        desk.key("V")

    assert preview.look.mode == "swipe"
    assert canvas.is_whole
    assert desk.viewer.layers["H&E over IHC"].visible
    height, width = desk.viewer.canvas.size
    center = desk.viewer.scene.camera.center
    desk.drag((width // 2, height // 3), (width // 4, height // 3))
    assert preview.look.share == pytest.approx(0.25, abs=0.01)
    assert desk.viewer.scene.camera.center == pytest.approx(center)  # no panning meanwhile
    z, y, x = center
    desk.viewer.scene.camera.zoom *= 2
    desk.viewer.scene.camera.center = (z, y + 60, x + 80)
    desk.wait_for(lambda: preview.look == preview._seen(preview.look))  # the edge follows
    desk.drag((width // 4, height // 2), (3 * width // 4, height // 2))
    assert preview.look.share == pytest.approx(0.75, abs=0.01)

    shown = canvas.images["ihc"].data[-1][:, :]
    desk.key("S")  # haematoxylin alone
    assert (canvas.images["ihc"].data[-1][:, :] != shown).any()
    desk.key("P")
    assert preview.bends
    desk.key("X")
    assert canvas.is_picking
    assert len(desk.picks.pairs) == 6
    for key in ("V", "P", "S", "S"):
        desk.key(key)
    assert [layer.name for layer in desk.viewer.layers if layer.visible][0::2] == ["H&E", "IHC"]


@pytest.mark.slow
def test_panning_never_loses_the_slides(desk: Hand, pair: SynthCase, six: Path) -> None:
    from napari_plugin.picker.canvas import GROUND

    desk.open_pair(pair.he, pair.ihc, six)
    desk.key("0")
    height, width = desk.viewer.canvas.size

    for _ in range(3):
        desk.drag((width // 4, height - 20), (width // 4, 20))

    shown = desk.viewer.screenshot(canvas_only=True, flash=False)[..., :3]
    around = (shown == int(GROUND[1:3], 16)).all(axis=2)
    assert 0.05 < around.mean() < 0.9
    desk.key("W")


@pytest.mark.slow
def test_a_review_rejects_an_area_and_leads_back_to_pick_a_pair(
    desk: Hand, pair: SynthCase, six: Path, run: Path
) -> None:
    desk.open_pair(pair.he, pair.ihc, six)
    desk.widget.panel.run.out.set(run)
    desk.widget.panel.tabs.setCurrentIndex(1)
    desk.push("Review the earlier run")
    height, width = desk.viewer.canvas.size
    middle = (width // 2, height // 2)

    desk.push("Reject an area")
    for across, down in ((-60, -60), (60, -50), (10, 70)):
        desk.press((middle[0] + across, middle[1] + down))
    desk.key("Return")
    desk.wait_for(lambda: bool(Registration.load(run).notes.rejected))

    [area] = Registration.load(run).notes.rejected
    assert (area.name, len(area.outline)) == ("area 1", 3)
    assert Registration.load(run).review is None
    desk.push("Pick a pair here")
    assert desk.session.canvas.is_picking
    with open_slide(pair.ihc) as slide:
        x, y = (slide.size.width - 1) / 2, (slide.size.height - 1) / 2
    he = Registration.load(run).chain([[x, y]])
    shown = desk.session.views.he.inverse([desk.session.canvas.center])
    np.testing.assert_allclose(shown, he, atol=8)
    review = desk.widget.panel._reviewing
    desk.viewer.window.remove_dock_widget(review)


@pytest.mark.slow
@pytest.mark.parametrize(("side", "left"), [("he", None), ("ihc", None), ("ihc", 2000)])
def test_a_slide_that_vanishes_is_said_loses_nothing_and_comes_back(
    desk: Hand, pair: SynthCase, six: Path, tmp_path: Path, side: Side, left: int | None
) -> None:
    he, ihc = (Path(shutil.copy(one, tmp_path)) for one in (pair.he, pair.ihc))
    desk.open_pair(he, ihc, six)
    said = desk.widget.panel.message
    gone = {"he": he, "ihc": ihc}[side]
    whole = gone.read_bytes()
    if left is None:
        gone.unlink()
    else:
        gone.write_bytes(whole[:left])
    desk.session.canvas.sources[side]._cache = TileCache(1)  # a small slide is kept whole
    getattr(desk.session, side).close()  # by which OpenSlide forgets what it decoded

    name = desk.picks.pairs[0].name
    desk.session.go_to(name)
    for place in ((1200.0, 900.0), (60.0, 60.0), (640.0, 500.0)):
        desk.session.show_place(place)
        desk.session.zoom(side, 3.0)
        desk.wait(0.3)
    desk.redraw()
    desk.wait_for(lambda: str(gone) in said.text())
    assert "What you did is kept" in said.text()
    for key in ("V", "V", "S", "M", "V", "V", "S", "S"):
        desk.key(key)
        desk.wait(0.2)
    desk.push("Show pieces")
    desk.wait(1.0)
    desk.key("W")
    desk.session.picker.select(name)
    desk.key("E")
    assert len(read_landmarks(six)) == 6
    assert desk.session.picker.is_saved

    gone.write_bytes(whole)
    desk.wait_for(lambda: str(gone) not in said.text())
    desk.push("Close slides")
    assert desk.widget.open_panel.message.text() == ""
