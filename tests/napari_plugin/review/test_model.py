"""A run folder judged, without a window."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_plugin.reader import get_reader
from napari_plugin.review.layers import arrow, image_layer, map_layers, patch_layer, shift_colors
from napari_plugin.review.model import Review
from pipeline.patches.case import exclusion, without_rejected
from pipeline.patches.record import CasePatches, CaseSlides, PatchCandidate
from pipeline.patches.settings import PatchSettings
from registration.errors import RunError
from registration.files.storage import write_npz
from registration.geometry import Box
from registration.quality.verdict import LARGE_RESIDUAL_UM
from registration.residual_map import ResidualMap
from registration.result import RECORD_NAME, RESIDUAL_NAME, Judgement, Registration
from registration.slides.slide import open_slide
from registration.synth import SynthCase, load_truth

PATCHES = """pair_id,he_hash,ihc_hash,x,y,size,mpp,shift_um,kept,reason
a,{he},{ihc},100,200,256,0.92,3.5,true,
b,{he},{ihc},600,300,256,0.92,31.0,false,shifted
c,{he},{ihc},700,300,256,0.92,,false,blank HE
d,other,{ihc},0,0,256,0.92,99,false,shifted
"""


@pytest.fixture
def review(run: Path) -> Review:
    return Review.open(run)


def test_headline_and_flags(review: Review) -> None:
    assert review.headline == "review: block 1-2 fell back"
    [flag] = review.block_flags
    assert (flag.name, flag.text) == ("1-2", "it folds")
    assert flag.box.x == review.pair.fixed_slide.size.width // 2


def test_the_moved_slide_is_warped_through_the_chain_where_none_was_written(
    review: Review, pair: SynthCase
) -> None:
    from registration.warp import warp_box

    box = Box(500, 400, 300, 200)

    shown = review.moved_source.read(box, 1.0)

    with open_slide(pair.he) as he:
        exact = warp_box(he, load_truth(pair.folder), box).image
    assert np.abs(shown.astype(int) - exact).mean() < 1.0


def test_maps_are_the_field(review: Review, pair: SynthCase) -> None:
    field = load_truth(pair.folder).steps[0]
    found = review.displacement_um
    rows, columns = found.values.shape
    row, column = rows // 3, columns // 2
    point = (np.array([[column, row]]) + 0.5) * found.downsample - 0.5

    shift = np.hypot(*(field(point) - point)[0]) * review.pair.fixed_slide.mpp

    assert found.values[row, column] == pytest.approx(shift, rel=1e-4)
    assert 0.5 < review.folding.values.min() < 1 < review.folding.values.max() < 1.5
    assert len(review.seam_px.values) > 10
    assert review.seam_px.values.max() < 0.05  # the true field is smooth
    np.testing.assert_array_equal(
        np.unique(review.seam_px.points[:, 0]), [review.pair.fixed_slide.size.width // 2 - 0.5]
    )


def test_patches_of_this_pair_and_their_flags(review: Review, tmp_path: Path) -> None:
    found = review.registration
    table = PATCHES.format(he=found.he.hash, ihc=found.ihc.hash)
    (tmp_path / "patches.csv").write_text(table, encoding="utf-8")

    patches = review.patches(tmp_path)

    assert [patch.name for patch in patches] == ["a", "b", "c"]
    assert patches[0].box == Box(100, 200, 512, 512)  # 256 px of 0.92 µm on a slide of 0.46
    [flag] = review.patch_flags(patches)
    assert (flag.name, flag.text) == ("b", "too large a shift is left")
    corners, options, kind = patch_layer(review, patches)
    assert (kind, len(corners)) == ("shapes", 3)
    assert options["features"]["reason"] == [
        "kept",
        "too large a shift is left",
        "too little tissue on the H&E slide",
    ]


def test_patches_of_a_cohort_lie_beside_the_run(review: Review) -> None:
    """The record that `bci-pipeline run` keeps per case, written by the patch stage itself."""
    found = review.registration
    assert review.patch_record is None
    scores = {"he_tissue": 1.0, "ihc_tissue": 1.0, "filled": 0.0, "fold": False, "seam": False}
    places = (((100, 200), 3.5, ""), ((700, 300), None, "blank HE"))
    record = CasePatches(
        folder=found.folder.parent / "patches",
        key="k",
        settings=PatchSettings(size=256, mpp=0.92),
        slides=CaseSlides.of(found),
        mpp=0.92,
        side=512,
        positions=9,
        candidates=tuple(
            PatchCandidate(
                *(x, y, x // 2, y // 2),
                **scores,
                shift_um=shift,
                similarity=None,
                null_percentile=None,
                reason=reason,
            )
            for (x, y), shift, reason in places
        ),
    )
    record.folder.mkdir()
    record.write()

    assert review.patch_record == record.folder
    kept, blank = review.patches(record.folder)

    assert (kept.box, kept.shift_um, kept.kept) == (Box(100, 200, 512, 512), 3.5, True)
    assert (blank.box.x, blank.kept, blank.reason) == (700, False, "blank HE")
    assert np.isnan(blank.shift_um)


def test_a_patch_without_a_measured_shift_has_no_colour() -> None:
    colors = shift_colors(np.array([0.0, LARGE_RESIDUAL_UM, 99.0, np.nan]))

    red, green, _, opacity = colors.T
    assert (green[0] > red[0], red[1] > 0.9, green[1] > 0.5, green[2]) == (True, True, True, 0.0)
    assert opacity[:3].min() > 0
    assert opacity[3] == 0


def test_a_dataset_of_other_slides_is_told(review: Review, tmp_path: Path) -> None:
    (tmp_path / "patches.csv").write_text(PATCHES.format(he="x", ihc="y"), encoding="utf-8")

    with pytest.raises(RunError, match="no patches of this pair"):
        review.patches(tmp_path)
    with pytest.raises(RunError, match="file not found"):
        review.patches(tmp_path / "nothing")


def test_a_judgement_is_kept_in_the_run(review: Review, run: Path) -> None:
    review.judge("rejected")

    assert Registration.load(run).review == "rejected"
    assert Review.open(run).judgement == "rejected"
    assert Registration.load(run).verdict == "review"


@pytest.mark.parametrize(
    ("judgement", "kept_out"), [("accepted", False), ("rejected", True), ("needs landmarks", True)]
)
def test_patch_and_run_respect_a_judgement(
    review: Review, run: Path, judgement: Judgement, kept_out: bool
) -> None:
    review.judge(judgement)

    assert (exclusion(Registration.load(run)) is not None) is kept_out


def test_reader_takes_a_run_folder(run: Path) -> None:
    read = get_reader(str(run))
    assert read is not None

    layers = read(str(run))

    assert [options["name"] for _, options, _ in layers] == [
        "H&E over IHC",
        "displacement (µm)",
        "change of area (0: folded)",
        "jump at block borders (px)",
        "residual shift (µm)",
        "residual shift (arrows)",
        "blocks",
    ]


def test_layers_lie_on_each_other(review: Review) -> None:
    """The far corner of the slide is at the same place of the world in image, map and blocks."""
    size = review.pair.fixed_slide.size
    image, displacement, *_, blocks = (image_layer(review), *map_layers(review))

    def corner(affine: np.ndarray, row_column: np.ndarray) -> np.ndarray:
        return np.asarray((affine @ [*row_column, 1.0])[:2])

    expected = corner(image[1]["affine"], np.array(size.shape) - 0.5)
    map_shape = np.array(displacement[0].shape)
    np.testing.assert_allclose(
        corner(displacement[1]["affine"], map_shape - 0.5), expected, atol=displacement_px(review)
    )
    np.testing.assert_allclose(corner(blocks[1]["affine"], blocks[0][-1][2]), expected)


def displacement_px(review: Review) -> float:
    """Return one pixel of the map in µm: the last one may lie partly beyond the slide."""
    return review.displacement_um.downsample * review.pair.fixed_slide.mpp


def test_missing_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no finished registration"):
        Review.open(tmp_path)


def test_rejected_places_and_a_comment_are_kept_with_the_judgement(
    review: Review, run: Path
) -> None:
    review.judge("accepted")
    review.say("fold in the corner", "AB")
    [flag] = review.block_flags
    review.reject_flag(flag)
    review.reject_area("area 1", np.array([[10.0, 10], [200, 12], [150, 190]]))

    again = Review.open(run)

    assert again.judgement == "accepted"
    assert (again.notes.comment, again.notes.initials) == ("fold in the corner", "AB")
    assert again.rejected_names == ("block 1-2", "area 1")
    assert len(again.notes.rejected[0].outline) == 4
    again.take_back("block 1-2")
    assert Review.open(run).rejected_names == ("area 1",)


def test_patches_that_touch_a_rejected_area_are_dropped(review: Review, run: Path) -> None:
    triangle = np.array([[1000.0, 500], [1200, 500], [1000, 700]])
    review.reject_area("area 1", triangle)
    scores = {"he_tissue": 1.0, "ihc_tissue": 1.0, "filled": 0.0, "fold": False, "seam": False}
    candidates = [
        PatchCandidate(
            *(x, y, 0, 0),
            **scores,
            shift_um=1.0,
            similarity=None,
            null_percentile=None,
            reason=reason,
        )
        for x, y, reason in ((900, 450, ""), (1120, 640, ""), (300, 450, ""), (1010, 510, "folded"))
    ]

    left = without_rejected(candidates, Registration.load(run), 128)

    assert [one.reason for one in left] == ["no piece", "", "", "folded"]


def test_a_block_is_rejected_whole_and_an_unknown_piece_is_told(review: Review, run: Path) -> None:
    review.reject_part("block 1-1")

    [area] = Registration.load(run).notes.rejected
    assert area.name == "block 1-1"
    assert area.outline[2] == (640.0, float(review.pair.fixed_slide.size.height))
    with pytest.raises(RunError, match="no piece 3"):
        review.reject_part("piece 3")


def test_the_other_stains_of_an_h_and_e_slide_are_found(review: Review, run: Path) -> None:
    cases = run.parent
    for name, he in (("p1_ER", review.registration.he.hash), ("p2_ER", "another")):
        record = json.loads((run / RECORD_NAME).read_text())
        record["inputs"]["he"]["hash"] = he
        (cases / name).mkdir()
        (cases / name / RECORD_NAME).write_text(json.dumps(record))

    assert [folder.name for folder in review.stains] == ["p1_ER", "run"]


def test_a_flagged_shift_is_shown_with_both_ends(run: Path) -> None:
    shift = np.array([[60.0, -80.0], [3.0, 4.0]])  # µm: one is far, one is near
    points = np.array([[400.0, 300.0], [700.0, 500.0]])
    alike, chance, reach = (np.full(2, value) for value in (0.9, 0.2, 120.0))
    write_npz(run / RESIDUAL_NAME, **ResidualMap(points, shift, alike, chance, reach).arrays())
    review = Review.open(run)

    [flag] = review.place_flags

    mpp = review.pair.fixed_slide.mpp
    assert flag.shift == pytest.approx((60 / mpp, -80 / mpp))
    assert flag.box.width * mpp > 2 * 100
    vectors, options = arrow(review, flag)
    np.testing.assert_allclose(vectors[0, 1], [-80 / mpp, 60 / mpp])
    assert options["vector_style"] == "arrow"
