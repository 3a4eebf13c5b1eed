"""What a person says of pieces: values alone, no window."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from napari_plugin.picker.assessment import assess_pieces
from napari_plugin.picker.picks import PickedPair, Picks, RefusedError
from napari_plugin.picker.pieces import Tissue, outer, stroke
from napari_plugin.picker.regions import Region, Regions
from napari_plugin.picker.tools import PieceTool
from napari_plugin.views import Frame
from registration.geometry import Points, Size
from registration.transforms import Projective


def box(x: float, y: float, width: float, height: float) -> Points:
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])


ASIDE = np.array([30.0, 80.0])
LEFT, RIGHT = box(100, 100, 800, 600), box(1200, 150, 500, 700)
FOUND = {"he": ((LEFT,), (RIGHT,)), "ihc": ((RIGHT + 50,), (LEFT + ASIDE,))}


def area(region: Region) -> float:
    return float(cv2.contourArea(region.outline.astype(np.float32)))


def used(tissue: Tissue, tool: str, *clicks: tuple[str, tuple[float, float]]) -> Regions:
    now = PieceTool(tool)
    for side, xy in clicks:
        now = now.clicked(side, xy)
    assert now.is_done
    return now.change(tissue)


def test_paired_pieces_have_one_name_on_both_slides() -> None:
    regions = used(Tissue(found=FOUND), "pair", ("he", (300.0, 300.0)), ("ihc", (300.0, 300.0)))

    assert [one.kind for one in regions.he] == ["piece 1"]
    assert [one.kind for one in regions.ihc] == ["piece 1"]
    np.testing.assert_array_equal(regions.ihc[0].outline, LEFT + ASIDE)
    again = used(Tissue(regions, FOUND), "pair", ("he", (1300.0, 300.0)), ("ihc", (1400.0, 300.0)))
    assert [one.kind for one in again.he] == ["piece 1", "piece 2"]
    assert [one.kind for one in Tissue(again, FOUND).on("he")] == ["piece 1", "piece 2"]


def test_control_tissue_is_marked_and_unmarked_by_the_same_click() -> None:
    click = ("ihc", (1400.0, 400.0))
    regions = used(Tissue(found=FOUND), "control", click)

    assert [one.kind for one in regions.ihc] == ["control"]
    assert [one.kind for one in Tissue(regions, FOUND).on("ihc")] == ["found", "control"]
    assert used(Tissue(regions, FOUND), "control", click).ihc == ()


def test_joined_pieces_are_one_and_a_piece_is_not_joined_to_itself() -> None:
    clicks = [("he", (300.0, 300.0)), ("he", (1300.0, 300.0))]
    regions = used(Tissue(found=FOUND), "join", *clicks)

    assert [one.kind for one in regions.he] == ["piece 1", "piece 1"]
    with pytest.raises(RefusedError, match="the same piece"):
        used(Tissue(found=FOUND), "join", clicks[0], ("he", (350.0, 350.0)))
    with pytest.raises(RefusedError, match="no piece"):
        used(Tissue(found=FOUND), "join", clicks[0], ("he", (1000.0, 300.0)))


def test_a_cut_makes_two_pieces_along_the_line() -> None:
    regions = used(Tissue(found=FOUND), "cut", ("he", (500.0, 50.0)), ("he", (500.0, 800.0)))

    assert sorted(one.kind for one in regions.he) == ["piece 1", "piece 2"]
    for one in regions.he:
        assert area(one) == pytest.approx(400 * 600, rel=0.02)
    with pytest.raises(RefusedError, match="whole piece"):
        used(Tissue(found=FOUND), "cut", ("he", (500.0, 50.0)), ("he", (500.0, 400.0)))


def test_a_tool_wants_its_clicks_on_the_right_slides() -> None:
    with pytest.raises(RefusedError, match="H&E slide"):
        PieceTool("pair").clicked("ihc", (1.0, 1.0))
    with pytest.raises(RefusedError, match="on the same slide"):
        PieceTool("join").clicked("he", (1.0, 1.0)).clicked("ihc", (1.0, 1.0))


def test_strokes_that_touch_are_one_outline_and_others_stay_apart() -> None:
    across = stroke(np.array([[200.0, 300.0], [600.0, 300.0]]), 20.0)
    down = stroke(np.array([[400.0, 200.0], [400.0, 500.0]]), 20.0)
    apart = stroke(np.array([[900.0, 900.0]]), 20.0)
    regions = Regions()
    for one in (across, down, apart):
        regions = Tissue(regions).with_outline("he", "exclude", one)

    sizes = sorted(area(one) for one in regions.he)
    assert len(sizes) == 2
    assert sizes[0] == pytest.approx(np.pi * 20**2, rel=0.05)
    both = (400 * 40 + np.pi * 20**2) + (300 * 40 + np.pi * 20**2) - 40 * 40
    assert sizes[1] == pytest.approx(both, rel=0.05)


def test_holes_and_what_lies_in_them_are_no_outer_outlines() -> None:
    assert len(outer((LEFT, box(200, 200, 100, 100), RIGHT))) == 2


def test_pairs_are_judged_piece_by_piece_where_the_pieces_do_not_move_together() -> None:
    he = np.array([[150, 150], [800, 200], [700, 650], [200, 600], [500, 400], [400, 250.0]])
    other = np.array([[1250, 200], [1600, 250], [1500, 800]])
    turned = Projective.affine([[0.0, -1.0, 2000.0], [1.0, 0.0, -100.0]])
    rows = [(p, p + ASIDE) for p in he] + [(p, turned([p])[0]) for p in other]
    pairs = tuple(
        PickedPair(str(n), tuple(a.tolist()), tuple(b.tolist())) for n, (a, b) in enumerate(rows, 1)
    )
    frame = Frame(Size(2000, 1500), 0.5)

    alone = assess_pieces(Picks(pairs), frame, frame, Tissue())
    found = assess_pieces(Picks(pairs, "2"), frame, frame, Tissue(found=FOUND))

    assert alone.problems
    assert found.pieces == ("tissue 1: 6", "tissue 2: 3, 1 more needed")
    assert found.problems == ()
    assert found.has_enough
    assert found.transform is not None
    np.testing.assert_allclose(found.transform([[130.0, 230.0]]), [[100.0, 150.0]], atol=1e-6)
    assert max(found.residual_um.values()) < 1e-6
