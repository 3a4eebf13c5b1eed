"""Several pieces on a glass: layout, truth of each piece, what the tables and masks say."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from registration.errors import SynthError
from registration.geometry import Box, Size
from registration.slides.slide import open_slide
from registration.synth import (
    GlassSettings,
    SynthCase,
    SynthSettings,
    load_piece_truths,
    write_case,
)
from registration.synth.case import MASK_DOWNSAMPLE
from registration.synth.glass import plan_glass
from registration.synth.ndpi import TILE_WIDTH, NdpiSpec

SETTINGS = SynthSettings(
    size=704,
    seed=21,
    her2="3+",
    mpp_he=1.6,
    mpp_ihc=1.6,
    truth_points=40,
    glass=GlassSettings(2, "permuted", control=True, lost=True),
)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> SynthCase:
    return write_case(tmp_path_factory.mktemp("glass") / "two", SETTINGS)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def labels_of(case: SynthCase, section: str) -> np.ndarray:
    mask = cv2.imread(str(case.truth_folder / f"pieces_{section}.png"), cv2.IMREAD_UNCHANGED)
    assert mask is not None
    return mask


@pytest.mark.slow
def test_each_piece_has_its_own_map_which_its_pairs_agree_with(case: SynthCase) -> None:
    rows, maps = rows_of(case.truth), load_piece_truths(case.folder)

    assert {row["piece"] for row in rows} == {"1", "2"}
    for number, truth in maps.items():
        own = [row for row in rows if row["piece"] == str(number)]
        he, ihc = (
            np.array([[float(row[f"{stain}_{axis}"]) for axis in "xy"] for row in own])
            for stain in ("he", "ihc")
        )
        assert len(own) == 40
        assert np.abs(truth(ihc) - he).max() < 1e-3
    turns = [np.degrees(np.arctan2(*t.steps[2].matrix[1::-1, 0])) for t in maps.values()]
    assert abs(turns[0] - turns[1]) > 1  # pieces turn on their own


def test_control_lies_on_the_ihc_alone_and_the_lost_piece_on_the_he_alone(case: SynthCase) -> None:
    assert set(np.unique(labels_of(case, "he"))) == {0, 1, 2, 3}
    assert set(np.unique(labels_of(case, "ihc"))) == {0, 1, 2, 4}
    described = json.loads((case.truth_folder / "truth.json").read_text(encoding="utf-8"))
    assert [piece["kind"] for piece in described["pieces"]] == [
        *("both", "both", "only he", "only ihc")
    ]


def test_tissue_is_dark_where_the_mask_has_a_piece_and_glass_is_bright(case: SynthCase) -> None:
    for path, section in ((case.he, "he"), (case.ihc, "ihc")):
        slide = open_slide(path)
        labels = labels_of(case, section)
        box = Box.of(slide.size.downsampled(MASK_DOWNSAMPLE))
        green = slide.read_scaled(box, MASK_DOWNSAMPLE)[..., 1].astype(float)
        for number in np.unique(labels)[1:]:
            assert green[labels == number].mean() < green[labels == 0].mean() - 15


def test_cells_of_pieces_do_not_overlap_and_lie_on_the_glass() -> None:
    for outline in ("section", "core"):
        plan = plan_glass(
            replace(SETTINGS, outline=outline, glass=GlassSettings(6, "same", True, True))
        )
        for section in ("he", "ihc"):
            cells = [cell for piece in plan.pieces if (cell := piece.cell(section))]
            assert len(cells) == 7
            for index, cell in enumerate(cells):
                assert cell.clipped(plan.size_of(section)) == cell
                assert not any(cell.overlaps(other) for other in cells[:index])


def test_same_arrangement_keeps_the_order_and_a_mirrored_glass_turns_it_over() -> None:
    same = plan_glass(replace(SETTINGS, glass=GlassSettings(2)))
    mirrored = plan_glass(replace(SETTINGS, mirrored=True, glass=GlassSettings(2)))

    first, second = (piece.ihc for piece in same.pieces)
    turned = [piece.ihc for piece in mirrored.pieces]

    assert first.x < second.x
    assert turned[0].x > turned[1].x
    assert all(piece.settings.mirrored for piece in mirrored.pieces)


def test_permuted_arrangement_is_another_order() -> None:
    plan = plan_glass(SETTINGS)
    he = sorted((p for p in plan.pieces if p.he and p.ihc), key=lambda p: (p.he.y, p.he.x))
    ihc = sorted((p for p in plan.pieces if p.ihc), key=lambda p: (p.ihc.y, p.ihc.x))

    assert [p.number for p in ihc] != [*(p.number for p in he), 4]


@pytest.mark.parametrize(("pieces", "arrangement"), [(0, "same"), (13, "same"), (2, "elsewhere")])
def test_impossible_glasses_are_refused(pieces: int, arrangement: str) -> None:
    with pytest.raises(SynthError):
        GlassSettings(pieces, arrangement)  # type: ignore[arg-type]


def test_large_glass_is_whole_tiles_wide_so_that_it_is_read_as_fast_as_a_scan() -> None:
    large = plan_glass(replace(SETTINGS, size=Size(10_240, 10_240), glass=GlassSettings(4)))

    for size in (large.he_size, large.ihc_size):
        assert size.width % TILE_WIDTH == 0
        assert NdpiSpec(size, 0.46).level_sizes()[2].width % 64 == 0
