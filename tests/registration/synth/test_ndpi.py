"""The NDPI writer, checked with OpenSlide and tifffile, which know nothing of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import tifffile

from registration.errors import SynthError
from registration.geometry import Box, Image, Size
from registration.slides.slide import open_slide
from registration.synth.ndpi import NdpiSpec, write_ndpi

SIZE = Size(1536, 832)


@pytest.fixture(scope="module")
def picture() -> Image:
    """Smooth, and different along every axis and in every channel."""
    y, x = np.mgrid[: SIZE.height, : SIZE.width]
    waves = [128 + 90 * np.sin(x / a + y / b) for a, b in ((61, 190), (150, 83), (97, -71))]
    return np.stack(waves, axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def slide(picture: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ndpi") / "waves.ndpi"
    bands = (picture[top : top + 200] for top in range(0, SIZE.height, 200))
    write_ndpi(path, NdpiSpec(SIZE, 0.46, quality=95), bands, lambda small: small[:, ::-1].copy())
    return path


def test_openslide_takes_it_for_a_hamamatsu_slide(slide: Path) -> None:
    with openslide.OpenSlide(slide) as opened:
        found = opened.properties

        assert found["openslide.vendor"] == "hamamatsu"
        assert float(found["openslide.mpp-x"]) == pytest.approx(0.46, rel=1e-6)
        assert float(found["openslide.mpp-y"]) == pytest.approx(0.46, rel=1e-6)
        assert found["openslide.objective-power"] == "20"
        assert opened.dimensions == (SIZE.width, SIZE.height)
        assert {1.0, 4.0} <= set(opened.level_downsamples)
        assert "macro" in opened.associated_images


def test_every_level_shows_the_picture(slide: Path, picture: Image) -> None:
    with openslide.OpenSlide(slide) as opened:
        for level, (width, height) in enumerate(opened.level_dimensions[:4]):
            seen = np.asarray(opened.read_region((0, 0), level, (width, height)).convert("RGB"))
            expected = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)

            assert np.abs(seen.astype(int) - expected).mean() < 2.5


def test_a_region_in_the_middle_is_that_region(slide: Path, picture: Image) -> None:
    with openslide.OpenSlide(slide) as opened:
        seen = np.asarray(opened.read_region((701, 203), 0, (333, 401)).convert("RGB"))

    assert np.abs(seen.astype(int) - picture[203:604, 701:1034]).max() < 16


def test_restart_table_points_behind_restart_markers(slide: Path) -> None:
    data = slide.read_bytes()
    with tifffile.TiffFile(slide) as opened:
        assert opened.is_ndpi
        for page in opened.pages[:2]:
            start, offsets = page.tags[273].value[0], page.tags[65426].value
            markers = [data[start + at - 2 : start + at] for at in offsets[1:]]

            assert [marker[0] for marker in markers] == [0xFF] * len(markers)
            assert [marker[1] - 0xD0 for marker in markers] == [n % 8 for n in range(len(markers))]


def test_smaller_levels_are_averages(tmp_path: Path) -> None:
    y, x = np.mgrid[:256, :512]
    checkers = np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, axis=-1)

    write_ndpi(tmp_path / "checkers.ndpi", NdpiSpec(Size(512, 256), 0.46), [checkers])

    with openslide.OpenSlide(tmp_path / "checkers.ndpi") as opened:
        level = opened.level_downsamples.index(4.0)
        small = np.asarray(opened.read_region((0, 0), level, (128, 64)).convert("RGB"))
    assert np.abs(small.astype(int) - 127).max() <= 2


def test_the_last_rows_reach_the_smallest_level(tmp_path: Path) -> None:
    size = Size(4352, 384)
    ramp = np.linspace(20, 230, size.height, dtype=np.float32).astype(np.uint8)
    picture = np.broadcast_to(ramp[:, None, None], (*size.shape, 3)).copy()

    write_ndpi(tmp_path / "wide.ndpi", NdpiSpec(size, 0.46), [picture])

    slide = open_slide(tmp_path / "wide.ndpi")
    level = [level.size.height for level in slide.levels].index(24)
    smallest = slide.read(Box(0, 0, 272, 24), level)[:, 100, 0].astype(float)
    assert np.abs(smallest - ramp.reshape(24, 16).mean(axis=1)).max() < 4


@pytest.mark.parametrize("rows", [7, 64, 832])
def test_bands_of_any_height_give_the_same_file(
    rows: int, slide: Path, picture: Image, tmp_path: Path
) -> None:
    again = tmp_path / "again.ndpi"

    bands = (picture[top : top + rows] for top in range(0, SIZE.height, rows))
    write_ndpi(again, NdpiSpec(SIZE, 0.46, quality=95), bands, lambda small: small[:, ::-1].copy())

    assert again.read_bytes() == slide.read_bytes()


def test_missing_rows_are_an_error_and_leave_no_file(picture: Image, tmp_path: Path) -> None:
    with pytest.raises(SynthError, match="bands held 640 rows, expected 832"):
        write_ndpi(tmp_path / "short.ndpi", NdpiSpec(SIZE, 0.46), [picture[:640]])

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (Size(1000, 832), "width 1000 px is not a multiple of 64; use 1024"),
        (Size(65536, 64), "more than one JPEG holds"),
    ],
)
def test_sizes_the_format_cannot_hold_are_refused(size: Size, message: str) -> None:
    with pytest.raises(SynthError, match=message):
        NdpiSpec(size, 0.46)
