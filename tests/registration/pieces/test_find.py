"""What is a piece of tissue and what is not, on masks drawn for the purpose."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from registration.pieces.find import Pieces, find_pieces
from registration.tissue import TissueMap

MPP, DOWNSAMPLE = 0.5, 16.0
"""8 µm per pixel of the masks."""


def glass() -> np.ndarray:
    return np.zeros((900, 1400), np.uint8)


def disc(mask: np.ndarray, x: int, y: int, radius: int) -> None:
    cv2.circle(mask, (x, y), radius, 1, -1)


def pieces_in(mask: np.ndarray) -> Pieces:
    return find_pieces(TissueMap(mask > 0, DOWNSAMPLE), MPP)


def test_sections_apart_are_pieces_numbered_as_one_reads() -> None:
    mask = glass()
    for x, y in ((1000, 200), (300, 220), (700, 700)):
        disc(mask, x, y, 120)

    pieces = pieces_in(mask)

    assert len(pieces) == 3
    centers = np.array([(300, 220), (1000, 200), (700, 700)]) * DOWNSAMPLE
    assert pieces.under(centers.astype(float)).tolist() == [1, 2, 3]
    assert pieces.areas_um2 == pytest.approx(np.full(3, np.pi * (120 * 8) ** 2), rel=0.02)
    box = pieces.box(2)
    assert (box.x, box.y) == (880 * 16, 80 * 16)


def test_a_section_with_a_narrow_crack_is_one_piece_and_a_wide_gap_makes_two() -> None:
    for gap_um, expected in ((80, 1), (600, 2)):
        mask = glass()
        disc(mask, 600, 450, 260)
        half = round(gap_um / 8 / 2)
        mask[:, 600 - half : 600 + half] = 0
        assert len(pieces_in(mask)) == expected


def test_a_fragment_belongs_to_the_piece_beside_it_and_debris_to_none() -> None:
    mask = glass()
    disc(mask, 400, 450, 200)
    disc(mask, 400 + 200 + 24, 450, 8)
    disc(mask, 1300, 100, 8)

    pieces = pieces_in(mask)

    assert len(pieces) == 1
    where = np.array([[624, 450], [1300, 100]]) * DOWNSAMPLE
    assert pieces.under(where).tolist() == [1, 0]
    debris = float(mask[90:111, 1290:1311].sum()) * (MPP * DOWNSAMPLE) ** 2
    assert pieces.loose_um2 == debris
    assert pieces.loose_share == pytest.approx(debris / (mask.sum() * 64.0), rel=0.001)


def test_thin_cores_are_pieces_and_a_hair_is_none() -> None:
    mask = glass()
    cv2.line(mask, (200, 100), (240, 800), 1, 75)  # 0.6 mm wide
    cv2.line(mask, (600, 100), (560, 800), 1, 50)  # 0.4 mm
    cv2.line(mask, (900, 100), (1000, 800), 1, 5)  # 40 µm

    assert len(pieces_in(mask)) == 2


def test_the_edge_of_a_cover_slip_and_a_label_are_no_tissue() -> None:
    mask = glass()
    disc(mask, 600, 450, 200)
    mask[:, 1340:1352] = 1
    mask[0:160, 0:220] = 1

    assert len(pieces_in(mask)) == 1


def test_a_field_full_of_tissue_is_one_piece_and_bare_glass_none() -> None:
    assert len(pieces_in(glass() + 1)) == 1
    assert len(pieces_in(glass())) == 0


def test_surroundings_end_half_way_to_the_next_piece() -> None:
    mask = glass()
    disc(mask, 400, 450, 150)
    disc(mask, 800, 450, 150)
    pieces = pieces_in(mask)

    left, right = pieces.near((1,), 1e4), pieces.near((2,), 1e4)

    assert not (left & right).any()
    assert left[450, 595]
    assert right[450, 605]
    assert not pieces.near((1,), 100.0)[450, 565]
    assert pieces.near((1,), 100.0)[450, 560]
