from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
import zarr
from skimage.metrics import peak_signal_noise_ratio

from registration.geometry import Box, Image, Size
from registration.slides.pyramid import (
    EncodedUnit,
    PyramidSpec,
    encode_unit,
    unit_boxes,
    write_pyramid,
)
from registration.slides.slide import open_slide

MPP = 0.46
# Neither side is a multiple of a tile, of a unit, or of eight; three units by two.
SIZE = Size(1283, 901)
SPEC = PyramidSpec(SIZE, MPP, tile=128, quality=95)
SUFFIX = {"tiff": ".tif", "ome-tiff": ".ome.tif", "ome-zarr": ".ome.zarr"}


def scene(size: Size = SIZE) -> Image:
    """A picture without symmetry: smooth colours, and lines that any shift would move."""
    ys, xs = np.mgrid[: size.height, : size.width].astype(float)
    planes = [
        128 + 90 * np.sin(xs / 31 + ys / 83),
        120 + 80 * np.cos(xs / 57) * np.sin(ys / 41 + 1),
        100 + 100 * np.exp(-((xs - 700) ** 2 + (ys - 300) ** 2) / 9e4),
    ]
    image = np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8)
    image[200:204] = 30
    image[:, 640:648] = 220
    return image


def units(spec: PyramidSpec, image: Image) -> Iterator[EncodedUnit]:
    for box in unit_boxes(spec):
        yield encode_unit(spec, image[box.slices()], box)


def written(folder: Path, spec: PyramidSpec, image: Image) -> Path:
    path = folder / f"image{SUFFIX[spec.format]}"
    write_pyramid(path, spec, units(spec, image))
    return path


def averaged(image: Image, downsample: int) -> Image:
    """Area average computed at once in floating point; the last pixels average what is there."""
    rows, columns = (np.arange(0, side, downsample) for side in image.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(image.astype(float), rows, axis=0), columns, axis=1)
    heights, widths = (
        np.diff([*starts, side])
        for starts, side in zip((rows, columns), image.shape[:2], strict=True)
    )
    return sums / (heights[:, None] * widths[None])[..., None]


@pytest.fixture(scope="module", params=["tiff", "ome-tiff", "ome-zarr"])
def pyramid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = replace(SPEC, format=request.param)
    return written(tmp_path_factory.mktemp("pyramid"), spec, scene())


def levels_of(path: Path) -> list[Image]:
    """Read all levels with the format's own library."""
    if path.suffix == ".zarr":
        group = zarr.open_group(str(path), mode="r")
        datasets = group.attrs["multiscales"][0]["datasets"]
        return [np.moveaxis(group[entry["path"]][:], 0, -1) for entry in datasets]
    with tifffile.TiffFile(path) as file:
        (series,) = file.series
        return [level.asarray() for level in series.levels]


def test_all_levels_are_there_and_look_like_the_picture(pyramid: Path) -> None:
    levels = levels_of(pyramid)
    assert [level.shape for level in levels] == [
        (901, 1283, 3),
        (451, 642, 3),
        (226, 321, 3),
        (113, 161, 3),
        (57, 81, 3),
    ]
    for number, level in enumerate(levels):
        expected = averaged(scene(), 2**number)
        if number or pyramid.suffix != ".zarr":
            psnr = peak_signal_noise_ratio(expected, level.astype(float), data_range=255)
            assert psnr > 36
        # A shift by half a pixel of any level is seen in the lines.
        for axis in (0, 1):
            moved = (expected + np.roll(expected, 1, axis)) / 2
            wrong = np.abs(level - moved)[2:-2, 2:-2].mean()
            assert np.abs(level - expected)[2:-2, 2:-2].mean() < 0.8 * wrong


def test_no_tile_is_out_of_place(pyramid: Path) -> None:
    for number, level in enumerate(levels_of(pyramid)):
        difference = np.abs(level - averaged(scene(), 2**number))
        blurred = difference[: level.shape[0] // 32 * 32, : level.shape[1] // 32 * 32]
        tiles = blurred.reshape(blurred.shape[0] // 32, 32, -1, 32, 3).mean(axis=(1, 3, 4))
        assert tiles.max() < 6


def test_ome_zarr_is_lossless(tmp_path: Path) -> None:
    levels = levels_of(written(tmp_path, replace(SPEC, format="ome-zarr"), scene()))
    np.testing.assert_array_equal(levels[0], scene())
    for number, level in enumerate(levels):
        # Rounded once per level; the last pixels repeat the edge where they reach beyond it.
        assert np.abs(level - averaged(scene(), 2**number)).max() <= number


@pytest.mark.parametrize("format_", ["tiff", "ome-tiff"])
def test_our_own_reader_sees_what_was_written(tmp_path: Path, format_: Any) -> None:
    path = written(tmp_path, replace(SPEC, format=format_), scene())
    with open_slide(path) as slide:
        assert (slide.size, slide.warnings) == (SIZE, ())
        assert slide.mpp == pytest.approx(MPP, rel=1e-6)
        assert [level.downsample for level in slide.levels] == [1, 2, 4, 8, 16]
        assert (
            np.abs(
                slide.read(Box(300, 500, 200, 100)) - scene()[500:600, 300:500].astype(int)
            ).mean()
            < 3
        )


def test_openslide_sees_every_level_and_the_mpp(tmp_path: Path) -> None:
    path = written(tmp_path, SPEC, scene())
    with openslide.OpenSlide(path) as slide:
        sizes = ((1283, 901), (642, 451), (321, 226), (161, 113), (81, 57))
        assert slide.level_dimensions == sizes
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(MPP, rel=1e-6)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(MPP, rel=1e-6)
        # The place of a level is taken at its corner, where it does not depend on rounded sizes.
        for number, size in enumerate(sizes):
            region = np.asarray(slide.read_region((0, 0), number, size).convert("RGB"), float)
            expected = averaged(scene(), 2**number)
            assert peak_signal_noise_ratio(expected, region, data_range=255) > 36
        with tifffile.TiffFile(path) as file:
            whole = file.pages.first.asarray().astype(int)
        level0 = np.asarray(slide.read_region((0, 0), 0, (1283, 901)).convert("RGB"))
        # Two decoders agree, so the tags say what the tiles are.
        assert np.abs(level0 - whole).max() <= 3


def test_the_tags_of_a_tiff(tmp_path: Path) -> None:
    with tifffile.TiffFile(written(tmp_path, SPEC, scene())) as file:
        assert not file.is_ome
        for number, page in enumerate(file.pages):
            assert page.is_tiled
            assert (page.tilewidth, page.tilelength) == (128, 128)
            assert page.photometric.name == "YCBCR"
            assert page.compression.name == "JPEG"
            assert page.tags["YCbCrSubSampling"].value == (1, 1)
            assert page.subfiletype == (1 if number else 0)
            assert page.get_resolution("MICROMETER")[0] == pytest.approx(1 / (MPP * 2**number))


def test_the_metadata_of_an_ome_tiff(tmp_path: Path) -> None:
    with tifffile.TiffFile(written(tmp_path, replace(SPEC, format="ome-tiff"), scene())) as file:
        assert len(file.pages) == 1
        assert len(file.pages.first.subifds) == 4
        metadata = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
        pixels = metadata["Pixels"]
        assert (pixels["SizeX"], pixels["SizeY"], pixels["SizeC"]) == (1283, 901, 3)
        assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (MPP, "µm")
        assert (pixels["PhysicalSizeY"], pixels["PhysicalSizeYUnit"]) == (MPP, "µm")
        assert pixels["Channel"]["SamplesPerPixel"] == 3


def test_the_metadata_of_an_ome_zarr(tmp_path: Path) -> None:
    # The rules are those of https://ngff.openmicroscopy.org/0.4/.
    path = written(tmp_path, replace(SPEC, format="ome-zarr"), scene())
    attributes = json.loads((path / ".zattrs").read_text())
    (multiscale,) = attributes["multiscales"]
    assert multiscale["version"] == "0.4"
    assert [axis["name"] for axis in multiscale["axes"]] == ["c", "y", "x"]
    assert [axis["type"] for axis in multiscale["axes"]] == ["channel", "space", "space"]
    assert {axis.get("unit") for axis in multiscale["axes"][1:]} == {"micrometer"}
    for number, dataset in enumerate(multiscale["datasets"]):
        transforms = dataset["coordinateTransformations"]
        assert transforms[0] == {"type": "scale", "scale": [1, MPP * 2**number, MPP * 2**number]}
        # The centre of a level's first pixel, on level 0 and in micrometres.
        center = (0.5 * 2**number - 0.5) * MPP
        if number:
            assert transforms[1]["translation"] == pytest.approx([0, center, center])
        array = json.loads((path / dataset["path"] / ".zarray").read_text())
        assert (array["zarr_format"], array["dimension_separator"]) == (2, "/")
    assert len(attributes["omero"]["channels"]) == 3
    assert attributes["omero"]["rdefs"]["model"] == "color"


@pytest.mark.parametrize("format_", ["tiff", "ome-tiff", "ome-zarr"])
@pytest.mark.parametrize("size", [Size(1, 1), Size(128, 128), Size(129, 7), Size(513, 512)])
def test_small_and_thin_pictures(tmp_path: Path, format_: Any, size: Size) -> None:
    spec = PyramidSpec(size, MPP, tile=128, format=format_, quality=95)
    image = scene()[100 : 100 + size.height, 500 : 500 + size.width]
    levels = levels_of(written(tmp_path, spec, image))
    assert [level.shape[:2] for level in levels] == [level.shape for level in spec.sizes]
    assert max(levels[-1].shape) <= 128
    for number, level in enumerate(levels):
        assert np.abs(level - averaged(image, 2**number)).mean() < 4


def test_units_cover_the_picture_in_order() -> None:
    boxes = unit_boxes(SPEC)
    assert [(box.x, box.y) for box in boxes] == [
        (0, 0), (512, 0), (1024, 0), (0, 512), (512, 512), (1024, 512),
    ]  # fmt: skip
    assert boxes[-1] == Box(1024, 512, 259, 389)


def test_a_unit_is_the_same_wherever_it_is_encoded() -> None:
    box = unit_boxes(SPEC)[4]
    first, second = (encode_unit(SPEC, scene()[box.slices()], box) for _ in range(2))
    assert first.tiles == second.tiles
    assert [len(tiles) for tiles in first.tiles] == [16, 4, 1]
    np.testing.assert_array_equal(first.top, second.top)


@pytest.mark.parametrize("format_", ["tiff", "ome-zarr"])
@pytest.mark.parametrize("order", [[0, 2, 1, 3, 4, 5], [0, 1, 2, 3, 4]])
def test_missing_or_misplaced_units_leave_no_file(
    tmp_path: Path, format_: Any, order: list[int]
) -> None:
    spec = replace(SPEC, format=format_)
    encoded = list(units(spec, scene()))
    path = tmp_path / "image.out"
    with pytest.raises(ValueError, match=r"unit at|units from"):
        write_pyramid(path, spec, (encoded[index] for index in order))
    assert list(tmp_path.iterdir()) == []


def test_a_unit_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(10, 20, 3\)"):
        encode_unit(SPEC, np.zeros((10, 20, 3), np.uint8), unit_boxes(SPEC)[0])


def test_a_pyramid_replaces_an_older_one(tmp_path: Path) -> None:
    for format_ in ("tiff", "ome-zarr"):
        spec = replace(SPEC, format=format_)
        written(tmp_path, spec, 255 - scene())
        assert (
            np.abs(levels_of(written(tmp_path, spec, scene()))[0] - scene().astype(int)).mean() < 3
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.ome.zarr", "image.tif"]


@pytest.mark.slow
def test_memory_stays_bounded_while_a_large_pyramid_is_written(tmp_path: Path) -> None:
    program = f"""
import re, numpy as np
from pathlib import Path
from registration.geometry import Size
from registration.slides.pyramid import PyramidSpec, encode_unit, unit_boxes, write_pyramid
spec = PyramidSpec(Size(20480, 20000), 0.46)
noise = np.random.default_rng(0).integers(0, 255, (2048, 2048, 3), np.uint8)
units = (encode_unit(spec, noise[: box.height, : box.width], box) for box in unit_boxes(spec))
write_pyramid(Path({str(tmp_path / "large.tif")!r}), spec, units)
# Not ru_maxrss: that is inherited from the process of the tests.
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) / 1024 < 300
