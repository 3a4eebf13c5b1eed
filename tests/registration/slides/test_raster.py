from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from registration.errors import SlideError
from registration.files import tiff
from registration.geometry import Box, Image, Size
from registration.slides import raster
from registration.slides.slide import open_slide
from registration.slides.tile_cache import TileCache

WIDTH, HEIGHT = 403, 271
ALL = Box(0, 0, WIDTH, HEIGHT)


def smooth() -> Image:
    """No symmetry, and every channel different; smooth enough for lossy codecs."""
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    planes = [xs * 0.6, ys * 0.8 + 10, 120 + 80 * np.sin(xs / 40) * np.cos(ys / 25)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def halved(image: Image) -> Image:
    even = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2].astype(float)
    height, width = even.shape[0] // 2, even.shape[1] // 2
    return (even.reshape(height, 2, width, 2, 3).mean(axis=(1, 3)) + 0.5).astype(np.uint8)


@pytest.mark.parametrize(
    ("options", "mean_error"),
    [
        ({"tile": (64, 112), "compression": "deflate"}, 0),
        ({"tile": (64, 112)}, 0),
        ({"tile": (64, 64), "compression": "webp", "compressionargs": {"level": 95}}, 2.5),
        ({"tile": (64, 64), "compression": "jpeg2000"}, 0),
        ({"tile": (128, 128), "compression": "jpeg"}, 4),
        ({"rowsperstrip": 17, "compression": "lzw", "predictor": 2}, 0),
        ({"rowsperstrip": 17}, 0),
        ({}, 0),
        ({"compression": "zstd", "byteorder": ">", "bigtiff": True, "tile": (32, 48)}, 0),
        ({"byteorder": ">", "rowsperstrip": 30}, 0),
    ],
)
def test_tiffs_of_every_layout(tmp_path: Path, options: dict[str, Any], mean_error: float) -> None:
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, smooth(), photometric="rgb", **options)
    slide = open_slide(path, 0.5)
    assert slide.size == Size(WIDTH, HEIGHT)
    for box in (ALL, Box(60, 110, 90, 43), Box(383, 256, 20, 15)):
        difference = slide.read(box).astype(int) - smooth()[box.slices()]
        assert np.abs(difference).mean() <= mean_error


def write_ome(path: Path, unit: str = "µm", size: float = 0.46, **options: Any) -> list[Image]:
    levels = [smooth()]
    levels += [halved(levels[-1])]
    levels += [halved(levels[-1])]
    metadata = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeY": size}
    metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    with tifffile.TiffWriter(path, ome=True) as writer:
        layout = {"tile": (64, 64), "photometric": "rgb", **options}
        writer.write(levels[0], subifds=2, metadata=metadata, **layout)
        for level in levels[1:]:
            writer.write(level, subfiletype=1, **layout)
    return levels


def test_all_levels_of_a_pyramidal_ome_tiff(tmp_path: Path) -> None:
    levels = write_ome(tmp_path / "image.ome.tif", compression="deflate")
    slide = open_slide(tmp_path / "image.ome.tif")
    assert (slide.vendor, slide.mpp, slide.warnings) == ("ome-tiff", 0.46, ())
    assert [level.downsample for level in slide.levels] == [1, 2, 4]
    for number, level in enumerate(levels):
        box = Box(33, 21, 50, 40)
        np.testing.assert_array_equal(slide.read(box, number), level[box.slices()])


@pytest.mark.parametrize(("unit", "size"), [("nm", 460), ("mm", 0.00046), ("µm", 0.46)])
def test_units_of_an_ome_tiff(tmp_path: Path, unit: str, size: float) -> None:
    write_ome(tmp_path / "image.ome.tif", unit, size)
    assert open_slide(tmp_path / "image.ome.tif").mpp == pytest.approx(0.46)


def test_an_ome_tiff_whose_unit_is_no_length_has_no_mpp(tmp_path: Path) -> None:
    write_ome(tmp_path / "image.ome.tif", "pixel", 1.0)
    with pytest.raises(SlideError, match="does not say how large a pixel is"):
        open_slide(tmp_path / "image.ome.tif")


@pytest.mark.parametrize(
    ("options", "mpp"),
    [
        ({"resolution": (1e4 / 0.46, 1e4 / 0.46), "resolutionunit": "CENTIMETER"}, 0.46),
        ({"resolution": (25400 / 0.23, 25400 / 0.23), "resolutionunit": "INCH"}, 0.23),
        ({"resolution": (1 / 0.31, 1 / 0.31), "imagej": True, "metadata": {"unit": "um"}}, 0.31),
        (
            {"resolution": (1 / 0.31, 1 / 0.31), "imagej": True, "metadata": {"unit": "\\u00B5m"}},
            0.31,
        ),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, "84.6"),
        ({"resolution": (2, 2), "resolutionunit": "NONE"}, "does not say"),
        ({}, "does not say"),
    ],
)
def test_mpp_of_a_plain_tiff(tmp_path: Path, options: dict[str, Any], mpp: float | str) -> None:
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, smooth(), photometric="rgb", **options)
    if isinstance(mpp, str):
        with pytest.raises(SlideError, match=mpp):
            open_slide(path)
    else:
        assert open_slide(path).mpp == pytest.approx(mpp, rel=1e-4)


@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_a_resolution_without_its_unit_is_not_guessed(
    tmp_path: Path, tile: tuple[int, int] | None
) -> None:
    path = tmp_path / "image.tif"
    tifffile.imwrite(
        path, smooth(), photometric="rgb", tile=tile, resolution=(1e4 / 0.46, 1e4 / 0.46)
    )
    content = path.read_bytes()
    # tifffile always writes tag 296; give it a private number instead.
    with tifffile.TiffFile(path) as file:
        offset = file.pages.first.tags[296].offset
    path.write_bytes(content[:offset] + (65000).to_bytes(2, "little") + content[offset + 2 :])
    with pytest.raises(SlideError, match=r"1\.168 µm per pixel if it is per inch, 0\.46 if"):
        open_slide(path)


def grey() -> Image:
    return smooth()[..., 1]


@pytest.mark.parametrize(
    ("pixels", "options", "expected"),
    [
        (grey(), {}, grey()),
        (255 - grey(), {"photometric": "miniswhite"}, grey()),
        (grey().astype(np.uint16) * 257, {}, grey()),
        (grey().astype(np.uint16) * 16, {"extratags": [(281, "H", 1, 4080, True)]}, grey()),
        (smooth().astype(np.uint16) * 257, {"photometric": "rgb"}, smooth()),
    ],
    ids=["grey", "white is zero", "16 bit", "12 of 16 bit", "16 bit rgb"],
)
def test_other_pixels_become_rgb(
    tmp_path: Path, pixels: Image, options: dict[str, Any], expected: Image
) -> None:
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, pixels, tile=(64, 64), **options)
    if expected.ndim == 2:
        expected = np.repeat(expected[..., None], 3, axis=-1)
    read = open_slide(path, 0.5).read(ALL)
    assert np.abs(read.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_transparent_pixels_are_white(tmp_path: Path, suffix: str) -> None:
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[:100] = 0
    rgba = np.concatenate([smooth(), alpha], axis=-1)
    path = tmp_path / f"image{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=["unassalpha"])
    else:
        PillowImage.fromarray(rgba).save(path)
    read = open_slide(path, 0.5).read(ALL)
    assert (read[:100] == 255).all()
    np.testing.assert_array_equal(read[100:], smooth()[100:])


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "I;16", "1"])
def test_pngs_of_every_mode(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.png"
    image = PillowImage.fromarray(smooth())
    if mode == "I;16":
        image = PillowImage.fromarray(grey().astype(np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert(mode)
    image.save(path)
    expected = np.asarray(image.convert("RGB")) if mode != "I;16" else np.dstack([grey()] * 3)
    slide = open_slide(path, 0.5)
    np.testing.assert_array_equal(slide.read(Box(60, 110, 90, 43)), expected[110:153, 60:150])
    assert slide.vendor == "png"


def test_tiles_that_were_never_written_are_white(tmp_path: Path) -> None:
    path = tmp_path / "sparse.ome.tif"
    tiles = [np.full((64, 64, 3), 7, np.uint8), None, None, None]
    tifffile.imwrite(
        path,
        iter(tiles),
        shape=(128, 128, 3),
        dtype=np.uint8,
        tile=(64, 64),
        photometric="rgb",
        ome=True,
    )
    read = open_slide(path, 0.5).read(Box(0, 0, 128, 128))
    assert (read[:64, :64] == 7).all()
    assert (read[64:] == 255).all()


def test_reading_twice_decodes_once_and_memory_stays_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles = TileCache(5 * 64 * 64 * 3)
    monkeypatch.setattr(raster, "shared_tiles", lambda: tiles)
    write_ome(tmp_path / "image.ome.tif", compression="deflate")
    decoded = []
    original = tiff.TiffImage.segment

    def counting(image: tiff.TiffImage, level: int, index: int) -> Image:
        decoded.append(index)
        return original(image, level, index)

    monkeypatch.setattr(tiff.TiffImage, "segment", counting)
    slide = open_slide(tmp_path / "image.ome.tif")
    slide.read(Box(0, 0, 60, 60))
    before = len(decoded)
    slide.read(Box(5, 5, 50, 50))
    assert len(decoded) == before
    slide.read(ALL)
    assert 0 < tiles.held_bytes <= 5 * 64 * 64 * 3
    slide.close()
    assert tiles.held_bytes == 0


def test_threads_share_a_tiff(tmp_path: Path) -> None:
    write_ome(tmp_path / "image.ome.tif", compression="deflate")
    slide = open_slide(tmp_path / "image.ome.tif")
    boxes = [Box(17 * n % 300, 29 * n % 200, 90, 60) for n in range(80)]
    with ThreadPoolExecutor(4) as pool:
        for box, pixels in zip(boxes, pool.map(slide.read, boxes), strict=True):
            np.testing.assert_array_equal(pixels, smooth()[box.slices()])


def test_a_damaged_tile_is_named(tmp_path: Path) -> None:
    path = tmp_path / "image.ome.tif"
    write_ome(path, compression="deflate")
    with tifffile.TiffFile(path) as file:
        offset = file.pages.first.dataoffsets[3]
    content = bytearray(path.read_bytes())
    content[offset : offset + 30] = b"\xff" * 30
    path.write_bytes(content)
    slide = open_slide(path)
    with pytest.raises(SlideError, match=r"image\.ome\.tif: cannot read .* tile 3 does not decode"):
        slide.read(Box(200, 10, 20, 20))
    np.testing.assert_array_equal(slide.read(Box(0, 0, 20, 20)), smooth()[:20, :20])
