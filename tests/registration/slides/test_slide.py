from __future__ import annotations

import gc
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from PIL import ImageCms

from registration.errors import SlideError
from registration.files.samples import on_white
from registration.geometry import Box, Image, Size
from registration.slides.brightfield import not_brightfield
from registration.slides.mpp import question_scales, settle_mpp
from registration.slides.reader import SlideFacts
from registration.slides.slide import (
    Slide,
    downsample_between,
    open_slide,
)
from registration.slides.vendors import library_version

WIDTH, HEIGHT = 403, 271


def speckle(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "speckle.png"
    PillowImage.fromarray(speckle()).save(path)
    return path


@pytest.fixture
def slide(plain: Path) -> Slide:
    return open_slide(plain, 0.5)


def test_boxes_reach_off_the_slide_into_white(slide: Slide) -> None:
    around = np.full((HEIGHT + 200, WIDTH + 200, 3), 255, np.uint8)
    around[100:-100, 100:-100] = speckle()
    for box in (
        Box(-30, -20, 90, 70),
        Box(380, 250, 50, 40),
        Box(-100, 5, 503, 9),
        Box(9, 8, 7, 6),
    ):
        expected = around[box.y + 100 : box.bottom + 100, box.x + 100 : box.right + 100]
        np.testing.assert_array_equal(slide.read(box), expected)
    assert (slide.read(Box(-90, 0, 40, 30)) == 255).all()
    assert (slide.read(Box(500, 600, 40, 30)) == 255).all()


@settings(max_examples=30)
@given(
    st.sampled_from([1.0, 2.0, 3.0, 1.5, 2.5, 3.2, 0.5, 10.4]),
    st.integers(-20, 60),
    st.integers(-20, 60),
    st.integers(1, 50),
    st.integers(1, 50),
)
def test_virtual_pixels_average_exactly_what_they_cover(
    plain: Path, downsample: float, x: int, y: int, width: int, height: int
) -> None:
    # Each level-0 pixel repeated ten times: every edge of a virtual pixel then falls between two.
    box = Box(x, y, width, height)
    side = round(downsample * 10)
    with open_slide(plain, 0.5) as slide:
        scaled = slide.read_scaled(box, downsample)
        first = int(np.floor(x * downsample)), int(np.floor(y * downsample))
        last = int(np.ceil((x + width) * downsample)), int(np.ceil((y + height) * downsample))
        under = slide.read(Box(*first, last[0] - first[0], last[1] - first[1])).astype(float)
    fine = under.repeat(10, axis=0).repeat(10, axis=1)
    left, top = x * side - 10 * first[0], y * side - 10 * first[1]
    cut = fine[top : top + height * side, left : left + width * side]
    expected = cut.reshape(height, side, width, side, 3).mean(axis=(1, 3))
    assert np.abs(scaled - expected).max() <= 0.51 + 0.5 * (downsample == round(downsample))


def test_virtual_levels_are_read_the_same_in_parts(slide: Slide) -> None:
    whole = slide.read_scaled(Box(-3, -2, 80, 60), 2.7)
    part = slide.read_scaled(Box(20, 30, 17, 9), 2.7)
    np.testing.assert_array_equal(whole[32:41, 23:40], part)


def test_thumbnail_covers_the_slide(slide: Slide) -> None:
    image, downsample = slide.thumbnail(100)
    assert downsample == WIDTH / 100
    assert image.shape == (68, 100, 3)
    small, same = slide.thumbnail(5000)
    assert (small.shape, same) == ((HEIGHT, WIDTH, 3), 1.0)


@pytest.mark.parametrize(
    ("full", "level", "expected"),
    [
        (Size(5120, 5013), Size(2560, 2506), 2.0),
        (Size(5120, 5100), Size(160, 159), 32.0),
        (Size(46000, 32914), Size(11500, 8228), 4.0),
        (Size(46001, 32914), Size(2875, 2057), 16.0),
        (Size(9000, 6000), Size(3000, 2000), 3.0),
        (Size(1000, 600), Size(400, 240), 2.5),
        (Size(40000, 20000), Size(312, 156), 128.0),
        (Size(777, 555), Size(777, 555), 1.0),
    ],
)
def test_downsample_is_exact_where_rounded_sizes_allow(
    full: Size, level: Size, expected: float
) -> None:
    assert downsample_between(full, level) == expected


def test_levels_are_chosen_by_downsample(real_data: Path) -> None:
    with open_slide(real_data / "slides" / "fluorescence.ndpi") as slide:
        assert slide.vendor == "hamamatsu"
        assert [level.downsample for level in slide.levels] == [1, 2, 4, 8, 16, 32, 64]
        levels = {0.5: 0, 1: 0, 1.99: 0, 2: 1, 3.9: 1, 4: 2, 1000: 6}
        assert {downsample: slide.level_for(downsample) for downsample in levels} == levels


def test_a_genuine_svs_is_read_as_tifffile_reads_it(real_data: Path) -> None:
    path = real_data / "slides" / "cmu-1-small-region.svs"
    box = Box(501, 1203, 700, 300)
    with open_slide(path) as slide, tifffile.TiffFile(path) as file:
        assert (slide.mpp, slide.objective_power, slide.vendor) == (0.499, 20, "aperio")
        assert slide.warnings == ()
        expected = file.series[0].levels[0].asarray()[box.slices()]
        # Two JPEG decoders, and two ways from YCbCr to RGB.
        assert np.abs(slide.read(box).astype(int) - expected).mean() < 1


REAL_PYRAMIDS = (
    "fluorescence.ndpi",
    "tcga-cr-7395-01a-01-ts1.svs",
    "same_glass/A_BB_563479_1.svs",
    "same_glass/N2_BB_563479_1.ndpi",
    "same_glass/Z_BB_563479_1.tif",
)


@pytest.mark.parametrize("path", REAL_PYRAMIDS)
def test_levels_of_real_slides_lie_over_each_other(real_data: Path, path: str) -> None:
    with open_slide(real_data / "slides" / path, 0.25) as slide:
        for number, level in list(enumerate(slide.levels))[1:4]:
            ratio = int(level.downsample)
            box = Box(level.size.width // 2, level.size.height // 2, 150, 110)
            stored = slide.read(box, number).astype(float)
            differences = {}
            for dx in (-ratio // 2, 0, ratio // 2):
                for dy in (-ratio // 2, 0, ratio // 2):
                    corner = box.x * ratio + dx, box.y * ratio + dy
                    finest = slide.read(Box(*corner, 150 * ratio, 110 * ratio)).astype(float)
                    made = finest.reshape(110, ratio, 150, ratio, 3).mean(axis=(1, 3))
                    differences[dx, dy] = np.abs(stored - made).mean()
            assert min(differences, key=lambda shift: differences[shift]) == (0, 0)


def test_what_was_not_scanned_is_white() -> None:
    rgba = np.array([[[10, 20, 30, 255], [0, 0, 0, 0], [100, 0, 200, 51]]], np.uint8)
    expected = [[10, 20, 30], [255, 255, 255], [224, 204, 244]]
    np.testing.assert_array_equal(on_white(rgba)[0], expected)
    np.testing.assert_array_equal(on_white(rgba[:, :1])[0], expected[:1])


def swapped_profile() -> bytes:
    """An sRGB profile whose red and green primaries are exchanged."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"tmp1").replace(b"gXYZ", b"rXYZ").replace(b"tmp1", b"gXYZ")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_colour_profile_is_applied(tmp_path: Path, suffix: str) -> None:
    pixels = np.zeros((40, 50, 3), np.uint8)
    pixels[:, :30] = [255, 0, 0]
    pixels[:, 30:] = [255, 255, 40]
    path = tmp_path / f"profiled{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="rgb", iccprofile=swapped_profile())
    else:
        PillowImage.fromarray(pixels).save(path, icc_profile=swapped_profile())
    read = open_slide(path, 0.5).read(Box(0, 0, 50, 40)).astype(int)
    assert np.abs(read[:, :30] - [0, 255, 0]).max() <= 2
    assert np.abs(read[:, 30:] - [255, 255, 40]).max() <= 2


def test_a_profile_that_changes_nothing_costs_nothing(real_data: Path) -> None:
    path = real_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
    box = Box(1000, 1500, 300, 200)
    raw = openslide.OpenSlide(path)
    expected = np.asarray(raw.read_region((box.x, box.y), 0, (300, 200)))[..., :3]
    assert raw.color_profile is not None
    np.testing.assert_array_equal(open_slide(path, 0.25).read(box), expected)


WHOLE = Size(100_000, 60_000)
"""25 x 15 mm at 0.25 µm/px."""
SMALL = Size(10, 10)


def facts(
    mpp: tuple[float, float] | None,
    power: float | None = None,
    unit_missing: bool = False,
    size: Size = SMALL,
) -> SlideFacts:
    return SlideFacts("aperio", (size,), mpp, power, unit_missing=unit_missing)


@pytest.mark.parametrize(
    ("found", "given_mpp", "expected", "warned"),
    [
        (facts((0.46, 0.46), 20), None, 0.46, []),
        (facts((0.23, 0.23), 40), None, 0.23, []),
        (facts((0.23, 0.23), 20), None, 0.23, ["does not fit the objective, 20x: about 0.5"]),
        (facts((1.168, 1.168), 20), None, 1.168, ["does not fit the objective"]),
        (facts((0.46, 0.46), 20), 0.23, 0.23, ["the file says 0.46", "does not fit the objective"]),
        (facts((0.46, 0.46)), 0.45, 0.45, []),
        (facts((0.4, 0.5)), None, pytest.approx(0.2**0.5), ["not square: 0.4 x 0.5"]),
        (facts(None), 0.5, 0.5, []),
        (facts((1000.0, 1000.0)), 0.5, 0.5, []),
        (facts((1.168, 1.168), unit_missing=True), 0.46, 0.46, []),
        (facts((1.168, 1.168), unit_missing=True), 1.168, 1.168, []),
        (facts((1.168, 1.168), unit_missing=True), 0.25, 0.25, ["the file says 1.168 or 0.4598"]),
        (facts((84.67, 84.67), unit_missing=True), 0.25, 0.25, []),
        (facts((0.46, 0.46)), 0.23, 0.23, ["the file says 0.46"]),
        (facts(None, size=WHOLE), 0.25, 0.25, []),
        (facts(None, size=Size(60_000, 300_000)), 0.25, 0.25, []),
        (facts(None, size=WHOLE), 0.5, 0.5, ["50 x 30 mm, larger than an ordinary glass slide"]),
        (facts(None, size=Size(60_000, 10_000)), 2.5, 2.5, ["150 x 25 mm, larger than"]),
        (facts((0.5, 0.5), size=WHOLE), None, 0.5, ["Unless the glass is a large one, give"]),
    ],
)
def test_mpp_is_settled(
    found: SlideFacts, given_mpp: float | None, expected: float, warned: list[str]
) -> None:
    mpp, warnings = settle_mpp(Path("a.svs"), found, given_mpp, "--mpp-ihc")
    assert mpp == expected
    assert len(warnings) == len(warned)
    for warning, text in zip(warnings, warned, strict=True):
        assert text in warning
        assert warning.startswith("a.svs: ")


@pytest.mark.parametrize(
    ("found", "given_mpp", "message"),
    [
        (facts(None), None, r"a\.svs: the file does not say .* Give it with --mpp-ihc"),
        (facts(None, 20), None, r"objective, 20x, suggests about 0\.5"),
        (facts((1000.0, 1000.0)), None, r"says 1000 µm .* true value with --mpp-ihc"),
        (facts((1e-4, 1e-4)), None, "no slide scanner has"),
        (
            facts((1.1684, 1.1684), unit_missing=True),
            None,
            r"1\.168 .* per inch, 0\.46 if per cent",
        ),
        (facts((0.46, 0.46)), -1.0, "--mpp-ihc -1: expected"),
        (facts((0.46, 0.46)), 460.0, r"--mpp-ihc 460: expected .* from 0\.05 to 20"),
        (facts((0.46, 0.46)), float("nan"), "expected micrometres"),
    ],
)
def test_missing_or_implausible_mpp_names_the_option(
    found: SlideFacts, given_mpp: float | None, message: str
) -> None:
    with pytest.raises(SlideError, match=message):
        settle_mpp(Path("a.svs"), found, given_mpp, "--mpp-ihc")


def read_there(slide: Slide, box: Box) -> tuple[int, Image]:
    return id(slide), slide.read(box)


def test_a_slide_travels_to_another_process_and_is_opened_there_once(real_data: Path) -> None:
    path = real_data / "slides" / "cmu-1-small-region.svs"
    slide, boxes = open_slide(path, 0.51), [Box(x, 40, 30, 20) for x in range(5)]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        answers = list(pool.map(read_there, [slide] * 5, boxes))
    assert len({identity for identity, _ in answers}) == 1
    for box, (_, pixels) in zip(boxes, answers, strict=True):
        np.testing.assert_array_equal(pixels, slide.read(box))
    copy = pickle.loads(pickle.dumps(slide))
    assert (copy.mpp, copy.size, copy.levels) == (slide.mpp, slide.size, slide.levels)
    assert copy.warnings == slide.warnings


def read_inherited(slide: Slide, parents_reader: object, answers: Any) -> None:
    pixels = slide.read(Box(5, 6, 7, 8))
    answers.put((pixels, slide._open() is parents_reader))


def test_a_forked_process_opens_the_file_for_itself(slide: Slide) -> None:
    # Two processes that share one open file move its position under each other's feet.
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=read_inherited, args=(slide, slide._open(), answers))
    child.start()
    pixels, is_shared = answers.get()
    child.join()
    np.testing.assert_array_equal(pixels, speckle()[6:14, 5:12])
    assert not is_shared


class LatchedReader:
    """As OpenSlide after one error: every further read fails, until it is opened again."""

    facts = SlideFacts("aperio", (Size(10, 10),), None)

    def read(self, box: Box, level: int) -> Image:
        raise SlideError("the network was away for a moment")

    def close(self) -> None:
        pass


def test_a_read_that_fails_once_is_tried_with_a_new_handle(slide: Slide) -> None:
    slide._reader = LatchedReader()
    np.testing.assert_array_equal(slide.read(Box(5, 6, 7, 8)), speckle()[6:14, 5:12])


def test_threads_read_the_same_slide(real_data: Path) -> None:
    slide = open_slide(real_data / "slides" / "cmu-1-small-region.svs")
    boxes = [Box(37 * n % 2000, 91 * n % 2700, 200, 150) for n in range(60)]
    expected = [slide.read(box) for box in boxes]
    with ThreadPoolExecutor(4) as pool:
        for pixels, here in zip(pool.map(slide.read, boxes), expected, strict=True):
            np.testing.assert_array_equal(pixels, here)


def test_a_closed_slide_opens_again_when_read(slide: Slide) -> None:
    slide.close()
    slide.close()
    np.testing.assert_array_equal(slide.read(Box(5, 6, 7, 8)), speckle()[6:14, 5:12])


def test_closing_releases_the_file(real_data: Path) -> None:
    def open_files() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    if not Path("/proc/self/fd").exists():
        pytest.skip("open files are counted in /proc, which this system lacks")
    path = real_data / "slides" / "cmu-1-small-region.svs"
    before = open_files()
    for _ in range(20):
        with open_slide(path) as slide:
            slide.read(Box(0, 0, 10, 10))
    assert open_files() <= before


def test_a_damaged_place_is_named_and_the_rest_is_still_read(
    real_data: Path, tmp_path: Path
) -> None:
    original = real_data / "slides" / "cmu-1-small-region.svs"
    with tifffile.TiffFile(original) as file:
        page = file.pages.first
        columns = -(-page.imagewidth // page.tilewidth)
        index = 3 * columns + 2
        offset, count = page.dataoffsets[index], page.databytecounts[index]
    content = bytearray(original.read_bytes())
    content[offset : offset + count] = b"\xab" * count
    path = tmp_path / "damaged.svs"
    path.write_bytes(content)
    with open_slide(path) as slide, open_slide(original) as whole:
        damaged = Box(2 * 240, 3 * 240, 240, 240)
        with pytest.raises(
            SlideError, match=r"damaged\.svs: cannot read 240 x 240 px at \(480, 720\)"
        ):
            slide.read(damaged)
        # OpenSlide refuses everything after an error, until it is opened again.
        elsewhere = Box(960, 960, 300, 200)
        np.testing.assert_array_equal(slide.read(elsewhere), whole.read(elsewhere))
        with pytest.raises(SlideError, match="damaged there"):
            slide.read(damaged)


def test_the_library_has_a_version() -> None:
    assert library_version().startswith("4.")


def test_scales_of_a_pair_that_cannot_both_be_true_are_questioned() -> None:
    assert question_scales(("he.svs", "ihc.svs"), (0.25, 1.9)) == ()
    for mpps in ((0.25, 18.0), (18.0, 0.25)):
        (warning,) = question_scales(("he.svs", "ihc.svs"), mpps)
        assert f"he.svs has {mpps[0]:g} µm/px and ihc.svs {mpps[1]:g}" in warning
        assert "is that right?" in warning


def test_dark_ground_is_no_brightfield(real_data: Path, tmp_path: Path) -> None:
    slides = real_data / "slides"
    with open_slide(slides / "fluorescence.ndpi") as slide:
        assert "fluorescence.ndpi is not brightfield: 99 % of it is dark ground" in str(
            not_brightfield(slide)
        )
    for path in (slides / "cmu-1-small-region.svs", slides / "same_glass" / "Z_BB_563479_1.tif"):
        with open_slide(path, 0.5) as slide:
            assert not_brightfield(slide) is None


@pytest.mark.parametrize(
    ("ground", "tissue", "is_dark"),
    [((240, 240, 240), (90, 20, 80), False), ((8, 8, 10), (20, 200, 90), True)],
)
def test_ground_decides_on_brightfield(
    tmp_path: Path, ground: tuple[int, ...], tissue: tuple[int, ...], is_dark: bool
) -> None:
    pixels = np.full((300, 500, 3), ground, np.uint8)
    pixels[50:200, 100:400] = tissue
    PillowImage.fromarray(pixels).save(tmp_path / "slide.png")
    assert (not_brightfield(open_slide(tmp_path / "slide.png", 0.5)) is not None) == is_dark
