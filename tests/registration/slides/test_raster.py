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


def ome_of(path: Path, xml_change: tuple[str, str] | None, **metadata: Any) -> Path:
    """Write an OME-TIFF; ``xml_change`` replaces a text of its XML afterwards, of equal length."""
    size = {"axes": "YXS", "PhysicalSizeX": 0.46, "PhysicalSizeY": 0.46, **metadata}
    tifffile.imwrite(path, smooth(), photometric="rgb", tile=(64, 64), ome=True, metadata=size)
    if xml_change is not None:
        old, new = (text.encode() for text in xml_change)
        content = path.read_bytes()
        assert content.count(old) >= 1
        assert len(old) == len(new)
        path.write_bytes(content.replace(old, new))
    return path


def test_a_bare_ampersand_in_ome_xml_does_not_stop_reading(tmp_path: Path) -> None:
    path = ome_of(tmp_path / "a.ome.tif", ('Name="HE_IHC', 'Name="HE&IHC'), Name="HE_IHC")
    slide = open_slide(path)
    assert slide.mpp == pytest.approx(0.46)
    np.testing.assert_array_equal(slide.read(ALL), smooth())


def test_xml_beyond_repair_asks_for_the_mpp_only(tmp_path: Path) -> None:
    path = ome_of(tmp_path / "a.ome.tif", ("</Pixels>", "<#Pixels>"))
    with pytest.raises(SlideError, match="does not say how large a pixel is"):
        open_slide(path)
    np.testing.assert_array_equal(open_slide(path, 0.46).read(ALL), smooth())


@pytest.mark.parametrize("value", ["0,46", " .46"])
def test_pixel_sizes_of_other_languages(tmp_path: Path, value: str) -> None:
    path = ome_of(tmp_path / "a.ome.tif", ('SizeX="0.46"', f'SizeX="{value}"'))
    assert open_slide(path).mpp == pytest.approx(0.46)


@pytest.mark.parametrize("value", ["None", "-0.4", " NaN", "  -1", " inf", "0.00", "0.4x"])
def test_pixel_sizes_without_sense_ask_for_the_mpp_only(tmp_path: Path, value: str) -> None:
    path = ome_of(tmp_path / "a.ome.tif", ('SizeX="0.46"', f'SizeX="{value}"'))
    with pytest.raises(SlideError, match="does not say how large a pixel is"):
        open_slide(path)
    slide = open_slide(path, 0.46)
    assert any("is no length and left out" in warning for warning in slide.warnings)
    np.testing.assert_array_equal(slide.read(ALL), smooth())


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("micrometer", 0.46),
        ("Micrometre", 0.46),
        ("microns", 0.46),
        ("nanometers", 460),
        ("millimeter", 0.00046),
        ("μm", 0.46),
        ("in", 0.46 / 25400),
        ("Å", 4600),
        ("pm", 460_000),
        ("µm", 0.46),
        ("nm", 460),
        ("mm", 0.00046),
    ],
)
def test_units_of_an_ome_tiff(tmp_path: Path, unit: str, size: float) -> None:
    write_ome(tmp_path / "image.ome.tif", unit, size)
    assert open_slide(tmp_path / "image.ome.tif").mpp == pytest.approx(0.46)


@pytest.mark.parametrize(
    ("kind", "value", "mpp"),
    [
        ("I", 21739, 0.46),
        ("f", 21739.13, 0.46),
        ("2I", (2173913, 100), 0.46),
        ("2I", (5, 0), None),
        ("2I", (0, 5), None),
        ("s", "21739", None),
        ("d", float("nan"), None),
        ("i", -5, None),
    ],
)
def test_resolutions_of_other_types(
    tmp_path: Path, kind: str, value: Any, mpp: float | None
) -> None:
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, smooth(), photometric="rgb", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        for tag in (282, 283):
            file.pages.first.tags[tag].overwrite(value, dtype=kind)
        file.pages.first.tags[296].overwrite(3)
    if mpp is None:
        with pytest.raises(SlideError, match="does not say how large a pixel is"):
            open_slide(path)
    else:
        assert open_slide(path).mpp == pytest.approx(mpp, rel=1e-3)
    np.testing.assert_array_equal(open_slide(path, 0.5).read(ALL), smooth())


def test_a_pixel_size_that_does_not_fit_the_objective_is_questioned(tmp_path: Path) -> None:
    path = ome_of(tmp_path / "a.ome.tif", None)
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata
    lens = '<Instrument ID="I:0"><Objective ID="O:0" NominalMagnification="40"/></Instrument>'
    xml = xml.replace("<Image ", lens + "<Image ", 1)
    xml = xml.replace("<Pixels ", '<ObjectiveSettings ID="O:0"/><Pixels ', 1)
    tifffile.tiffcomment(path, xml.encode())
    (warning,) = open_slide(path).warnings
    assert "0.46 µm/px does not fit the objective, 40x: about 0.25 is expected" in warning


def series(path: Path, names: list[str], order: list[int]) -> None:
    """Write an OME-TIFF of a label, a slide, and an overview wider than the slide."""
    pictures = [np.full((90, 60, 3), 40, np.uint8), smooth(), np.full((100, 900, 3), 90, np.uint8)]
    with tifffile.TiffWriter(path, ome=True) as writer:
        for number in order:
            um = (18.0, 0.46, 30.0)[number]
            metadata = {"axes": "YXS", "Name": names[number], "PhysicalSizeX": um}
            metadata |= {"PhysicalSizeY": um}
            writer.write(pictures[number], photometric="rgb", metadata=metadata)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
@pytest.mark.parametrize(
    "names", [["label", "slide", "macro"], ["Label Image", "P1 macro cut", "x.svs - overview #2"]]
)
def test_the_pixel_size_is_that_of_the_image_that_is_read(
    tmp_path: Path, order: list[int], names: list[str]
) -> None:
    path = tmp_path / "series.ome.tif"
    series(path, names, order)
    slide = open_slide(path)
    assert (slide.size, slide.mpp) == (Size(WIDTH, HEIGHT), pytest.approx(0.46))
    np.testing.assert_array_equal(slide.read(ALL), smooth())


def test_label_and_overview_of_a_plain_tiff_are_not_the_slide(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    wide = np.full((300, 900, 3), 90, np.uint8)
    with tifffile.TiffWriter(path) as writer:
        common = {"photometric": "rgb", "metadata": None}
        writer.write(wide, description="Some scanner\nlabel 900x300", **common)
        writer.write(wide[:290], subfiletype=9, **common)
        writer.write(wide[:280], extratags=[(285, "s", 0, "Macro", True)], **common)
        writer.write(smooth(), resolution=(1e4 / 0.46,) * 2, resolutionunit="CENTIMETER", **common)
    slide = open_slide(path)
    assert slide.mpp == pytest.approx(0.46)
    np.testing.assert_array_equal(slide.read(ALL), smooth())


def test_only_a_label_is_no_slide(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as writer:
        for name, side in (("label", 300), ("macro", 500)):
            tag = [(285, "s", 0, name, True)]
            writer.write(smooth()[:, :side], photometric="rgb", metadata=None, extratags=tag)
    with pytest.raises(SlideError, match="holds only a label or an overview"):
        open_slide(path, 0.5)


def test_a_slide_called_overview_is_still_the_slide(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as writer:
        common = {"photometric": "rgb", "metadata": None, "tile": (64, 64)}
        writer.write(smooth(), description="P1 overview", **common)
        writer.write(halved(smooth()), subfiletype=1, **common)
    slide = open_slide(path, 0.5)
    assert (slide.size, len(slide.levels)) == (Size(WIDTH, HEIGHT), 2)


def test_of_two_scenes_the_larger_is_read_and_named(tmp_path: Path) -> None:
    path = tmp_path / "scenes.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(smooth()[:200, :300], photometric="rgb", metadata=None)
        writer.write(smooth(), photometric="rgb", metadata=None)
    slide = open_slide(path, 0.5)
    assert any("holds 2 images; the largest is read, 403 x 271" in one for one in slide.warnings)
    np.testing.assert_array_equal(slide.read(ALL), smooth())


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("ome", [False, True])
@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_another_image_of_half_the_size_is_no_level(
    tmp_path: Path, marked: bool, ome: bool, tile: tuple[int, int] | None
) -> None:
    path = tmp_path / "scenes.tif"
    other = np.ascontiguousarray(halved(smooth())[::-1])
    with tifffile.TiffWriter(path, ome=ome) as writer:
        common: dict[str, Any] = {"photometric": "rgb", "tile": tile, "metadata": {"axes": "YXS"}}
        if marked:  # the copy of another scene, which goes before
            writer.write(smooth()[:100], **common)
        writer.write(other, subfiletype=int(marked), **common)
        writer.write(smooth(), **common)
    slide = open_slide(path, 0.5)
    np.testing.assert_array_equal(slide.read(ALL), smooth())
    assert len(slide.levels) == 1


@pytest.mark.parametrize("step", ["averaged", "every second"])
def test_a_copy_that_is_not_marked_as_one_is_a_level(tmp_path: Path, step: str) -> None:
    path = tmp_path / "pyramid.tif"
    noisy = np.random.default_rng(3).integers(0, 90, smooth().shape, np.uint8) + smooth() // 2
    copy = halved(noisy) if step == "averaged" else noisy[:-1:2, :-1:2]
    with tifffile.TiffWriter(path) as writer:
        common: dict[str, Any] = {"photometric": "rgb", "metadata": None, "tile": (64, 64)}
        for image in (noisy, copy):
            writer.write(image, compression="jpeg", compressionargs={"level": 60}, **common)
    assert len(open_slide(path, 0.5).levels) == 2


@pytest.mark.parametrize(
    "options", [{"ome": True, "metadata": {"axes": "CYX"}}, {"imagej": True}, {"metadata": None}]
)
def test_planes_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "planes.tif"
    tifffile.imwrite(path, np.zeros((3, 90, 130), np.uint8), photometric="minisblack", **options)
    with pytest.raises(SlideError, match="holds 3 planes of one size, not one RGB image"):
        open_slide(path, 0.5)


@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_a_turned_pyramid_is_turned_on_every_level(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "turned.ome.tif"
    tag = [(274, "H", 1, orientation, True)]
    levels = write_ome(path, compression="deflate", extratags=tag, size=0.46)
    slide = open_slide(path)
    turned = orientation >= 5
    assert slide.size == (Size(HEIGHT, WIDTH) if turned else Size(WIDTH, HEIGHT))
    turn = {3: lambda a: a[::-1, ::-1], 6: lambda a: np.rot90(a, -1)}
    turn[7] = lambda a: a.swapaxes(0, 1)[::-1, ::-1]
    for number, level in enumerate(levels):
        upright = turn[orientation](level)
        box = Box(13, 21, 40, 30)
        np.testing.assert_array_equal(slide.read(box, number), upright[box.slices()])


@pytest.mark.parametrize("suffix", [".ome.tif", ".png"])
def test_a_slide_that_vanishes_ends_in_one_sentence(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"slide{suffix}"
    if suffix == ".png":
        PillowImage.fromarray(smooth()).save(path)
    else:
        write_ome(path)
    slide = open_slide(path, 0.46)
    slide.close()
    path.unlink()
    with pytest.raises(SlideError, match=r"^slide not found: .*slide") as gone:
        slide.read(ALL)
    assert "\n" not in str(gone.value)


@pytest.mark.parametrize("compression", [None, "deflate", "jpeg"])
def test_a_slide_that_shrinks_ends_in_one_sentence(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, smooth(), photometric="rgb", tile=(64, 64), compression=compression)
    slide = open_slide(path, 0.46)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(SlideError, match=r"slide\.tif is cut short: at least") as short:
        slide.read(ALL)
    assert "\n" not in str(short.value)


def test_a_slide_that_is_replaced_is_not_read_as_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "slide.png"
    PillowImage.fromarray(smooth()).save(path)
    slide = open_slide(path, 0.46)
    slide.close()
    PillowImage.fromarray(smooth()[:100]).save(path)
    with pytest.raises(SlideError, match="was replaced by another file while in use"):
        slide.read(ALL)
