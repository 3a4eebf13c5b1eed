"""Image files of every kind: the pixels are those that were written, or the file is refused by name."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage

from registration.errors import SlideError
from registration.files import images
from registration.files.images import image_size, read_image
from registration.files.samples import Image
from registration.geometry import Box
from registration.slides.slide import open_slide

HEIGHT, WIDTH = 71, 103
UM = 0.5


def picture() -> Image:
    """No symmetry, every channel different, from black to white."""
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    planes = [xs * 2.4, 255 - ys * 3.5, 120 + 120 * np.sin(xs / 20) * np.cos(ys / 15)]
    return np.stack(planes, axis=-1).round().clip(0, 255).astype(np.uint8)


def grey() -> Image:
    return np.ascontiguousarray(picture()[..., 0])


def as_rgb(plane: Image) -> Image:
    return np.repeat(plane[..., None], 3, axis=-1)


def deep(pixels: Image, most: int) -> NDArray[np.uint16]:
    """The same picture in samples from 0 to ``most``."""
    return np.round(pixels * (most / 255.0)).astype(np.uint16)


def both_ways(path: Path) -> Image:
    """Read an image as a patch and as a slide, which must agree."""
    patch = read_image(path)
    slide = open_slide(path, UM)
    np.testing.assert_array_equal(slide.read(Box.of(slide.size)), patch)
    part = Box(31, 17, 40, 29)
    np.testing.assert_array_equal(slide.read(part), patch[part.slices()])
    assert image_size(path) == (slide.size.width, slide.size.height)
    return patch


def refused(path: Path) -> str:
    """Return why an image is refused, which must be the same for a patch and a slide."""
    with pytest.raises(SlideError) as patch:
        read_image(path)
    with pytest.raises(SlideError) as slide:
        open_slide(path, UM)
    assert str(patch.value) == str(slide.value)
    assert str(path) in str(patch.value)
    assert "\n" not in str(patch.value)
    return str(patch.value)


def close_to(pixels: Image, expected: Image, most: int = 1) -> None:
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= most


def write_tiff(path: Path, data: bytes, tags: dict[int, tuple[str, tuple[int, ...]]]) -> None:
    """Write a little-endian TIFF of one strip with exactly these tags (``H`` or ``I`` numbers)."""
    base = {256: ("I", (WIDTH,)), 257: ("I", (HEIGHT,)), 259: ("H", (1,)), 278: ("I", (HEIGHT,))}
    entries = {**base, **tags, 273: ("I", (8,)), 279: ("I", (len(data),))}
    start = 8 + len(data) + len(data) % 2
    values_at = start + 2 + 12 * len(entries) + 4
    block, values = struct.pack("<H", len(entries)), b""
    for tag, (kind, numbers) in sorted(entries.items()):
        packed = struct.pack(f"<{len(numbers)}{kind}", *numbers)
        block += struct.pack("<HHI", tag, 3 if kind == "H" else 4, len(numbers))
        if len(packed) <= 4:
            block += packed.ljust(4, b"\0")
        else:
            block += struct.pack("<I", values_at + len(values))
            values += packed + b"\0" * (len(packed) % 2)
    head = b"II*\0" + struct.pack("<I", start)
    path.write_bytes(head + data.ljust(start - 8, b"\0") + block + struct.pack("<I", 0) + values)


def packed(samples: NDArray[np.uint16], bits: int) -> bytes:
    """Pack rows of samples into ``bits`` each, every row from a whole byte on, as TIFF does."""
    weights = 1 << np.arange(bits)[::-1]
    rows = samples.reshape(len(samples), -1)
    return b"".join(
        np.packbits((row[:, None] & weights).astype(bool).ravel()).tobytes() for row in rows
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 14])
@pytest.mark.parametrize("channels", [1, 3])
def test_packed_samples_of_every_depth(tmp_path: Path, bits: int, channels: int) -> None:
    samples = deep(picture()[..., :channels], 2**bits - 1)
    path = tmp_path / "packed.tif"
    photometric = 2 if channels == 3 else 1
    write_tiff(
        path,
        packed(samples, bits),
        {258: ("H", (bits,) * channels), 262: ("H", (photometric,)), 277: ("H", (channels,))},
    )
    expected = np.round(samples * (255.0 / (2**bits - 1))).astype(np.uint8)
    close_to(both_ways(path), expected if channels == 3 else as_rgb(expected[..., 0]))


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("said", ["MaxSampleValue", "SMaxSampleValue", "SignificantBits"])
def test_significant_bits_in_16_are_what_the_file_says(
    tmp_path: Path, bits: int, said: str
) -> None:
    path = tmp_path / "deep.ome.tif"
    options: dict[str, Any] = {}
    if said == "SignificantBits":
        options = {"ome": True, "metadata": {"axes": "YXS", "SignificantBits": bits}}
    else:
        tag = 281 if said == "MaxSampleValue" else 341
        most = (2**bits - 1,) * 3
        options = {"metadata": None, "extratags": [(tag, "H", 3, most, True)]}
    tifffile.imwrite(
        path, deep(picture(), 2**bits - 1), photometric="rgb", tile=(32, 48), **options
    )
    close_to(both_ways(path), picture())


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 15])
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_range_that_nothing_states_is_refused(tmp_path: Path, bits: int, suffix: str) -> None:
    path = tmp_path / f"deep{suffix}"
    samples = deep(grey(), 2**bits - 1)
    if suffix == ".tif":
        tifffile.imwrite(path, samples)
    else:
        PillowImage.fromarray(samples).save(path)
    assert f"its 16-bit samples go up to {samples.max()} only" in refused(path)


def test_16_bit_rgb_png(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    path = tmp_path / "deep.png"
    path.write_bytes(imagecodecs.png_encode(deep(picture(), 65535)))
    close_to(both_ways(path), picture())
    path.write_bytes(imagecodecs.png_encode(deep(picture(), 4095)))
    assert "how many of the bits count" in refused(path)


def test_significant_bits_in_8(tmp_path: Path) -> None:
    path = tmp_path / "shallow.ome.tif"
    metadata = {"axes": "YXS", "SignificantBits": 6}
    tifffile.imwrite(path, picture() >> 2, photometric="rgb", ome=True, metadata=metadata)
    close_to(both_ways(path), np.round((picture() >> 2) * (255 / 63)).astype(np.uint8))


def test_a_low_maximum_of_8_bits_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "dim.tif"
    tag = (281, "H", 3, (100,) * 3, True)
    tifffile.imwrite(path, picture() // 3, photometric="rgb", extratags=[tag])
    np.testing.assert_array_equal(both_ways(path), picture() // 3)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_several_pictures_in_a_file_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"moving{suffix}"
    frames = [PillowImage.fromarray(picture()), PillowImage.fromarray(255 - picture())]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert "holds 2 pictures; export the one that is meant" in refused(path)


def test_a_maximum_that_the_samples_exceed_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "lying.tif"
    tifffile.imwrite(
        path, deep(picture(), 65535), photometric="rgb", extratags=[(281, "H", 1, 255, True)]
    )
    close_to(both_ways(path), picture())


def test_dark_samples_of_a_stated_full_range_stay_dark(tmp_path: Path) -> None:
    path = tmp_path / "dark.tif"
    tifffile.imwrite(path, deep(grey() // 4, 65535), extratags=[(281, "H", 1, 65535, True)])
    close_to(both_ways(path), as_rgb(grey() // 4))


@pytest.mark.parametrize(
    "dtype", ["int8", "int16", "int32", "uint32", "uint64", "float16", "float32", "float64"]
)
def test_other_kinds_of_numbers_are_refused(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "numbers.tif"
    tifffile.imwrite(path, picture().astype(dtype), photometric="rgb")
    assert f"has {dtype} pixels; export it as 8-bit RGB" in refused(path)


def with_fourth(fourth: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([picture(), fourth[..., None].astype(np.uint8)], axis=-1)


def ramp() -> NDArray[np.uint8]:
    return np.broadcast_to(np.linspace(0, 255, HEIGHT)[:, None], (HEIGHT, WIDTH)).astype(np.uint8)


def blended(alpha: NDArray[np.uint8]) -> Image:
    share = alpha[..., None] / 255.0
    return np.round(picture() * share + 255 * (1 - share)).astype(np.uint8)


@pytest.mark.parametrize("options", [{"extrasamples": ["unspecified"]}, {"extrasamples": [0]}])
def test_a_fourth_sample_of_no_stated_kind_is_no_opacity(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / "infrared.tif"
    tifffile.imwrite(path, with_fourth(ramp()), photometric="rgb", **options)
    np.testing.assert_array_equal(both_ways(path), picture())
    assert any("beyond colour" in warning for warning in open_slide(path, UM).warnings)


def test_a_fourth_sample_without_its_tag_is_no_opacity(tmp_path: Path) -> None:
    path = tmp_path / "infrared.tif"
    tags = {258: ("H", (8,) * 4), 262: ("H", (2,)), 277: ("H", (4,))}
    write_tiff(path, with_fourth(ramp()).tobytes(), tags)
    np.testing.assert_array_equal(both_ways(path), picture())


@pytest.mark.parametrize("depth", [255, 65535])
def test_opacity_lies_on_white(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "unassociated.tif"
    samples = with_fourth(ramp()) if depth == 255 else deep(with_fourth(ramp()), depth)
    tifffile.imwrite(path, samples, photometric="rgb", extrasamples=["unassalpha"], tile=(48, 32))
    close_to(both_ways(path), blended(ramp()))


def test_premultiplied_opacity_lies_on_white(tmp_path: Path) -> None:
    path = tmp_path / "associated.tif"
    share = ramp()[..., None] / 255.0
    premultiplied = np.round(picture() * share).astype(np.uint8)
    rgba = np.concatenate([premultiplied, ramp()[..., None]], axis=-1)
    tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=["assocalpha"])
    close_to(both_ways(path), blended(ramp()))


def test_the_opacity_among_several_extra_samples_is_found(tmp_path: Path) -> None:
    path = tmp_path / "five.tif"
    five = np.concatenate([with_fourth(grey()), ramp()[..., None]], axis=-1)
    tifffile.imwrite(path, five, photometric="rgb", extrasamples=["unspecified", "unassalpha"])
    close_to(both_ways(path), blended(ramp()))


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", ".png"])
def test_an_opacity_of_zero_everywhere_does_not_make_a_slide_white(
    tmp_path: Path, kind: str
) -> None:
    rgba = with_fourth(np.zeros((HEIGHT, WIDTH)))
    path = tmp_path / ("void.png" if kind == ".png" else "void.tif")
    if kind == ".png":
        PillowImage.fromarray(rgba).save(path)
    else:
        tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=[kind])
        assert any("opacity is 0" in warning for warning in open_slide(path, UM).warnings)
    np.testing.assert_array_equal(both_ways(path), picture())


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_glass_that_was_never_scanned_is_white(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"glass{suffix}"
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    if suffix == ".tif":
        tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=["unassalpha"])
    else:
        PillowImage.fromarray(rgba).save(path)
    assert (both_ways(path) == 255).all()


def test_grey_with_opacity(tmp_path: Path) -> None:
    pair = np.stack([grey(), ramp()], axis=-1)
    share = ramp() / 255.0
    expected = as_rgb(np.round(grey() * share + 255 * (1 - share)).astype(np.uint8))
    tifffile.imwrite(
        tmp_path / "la.tif",
        pair,
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    PillowImage.fromarray(pair).save(tmp_path / "la.png")
    for name in ("la.tif", "la.png"):
        close_to(both_ways(tmp_path / name), expected)


def test_a_grey_value_that_stands_for_nothing_is_white(tmp_path: Path) -> None:
    value = int(deep(grey(), 65535)[40, 60])
    PillowImage.fromarray(deep(grey(), 65535)).save(tmp_path / "a.png", transparency=value)
    close_to(
        both_ways(tmp_path / "a.png"),
        np.where(as_rgb(grey() == grey()[40, 60]), 255, as_rgb(grey())),
    )


def test_a_colour_of_16_bits_that_stands_for_nothing_is_refused(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(deep(picture(), 65535)))
    whole = path.read_bytes()
    chunk = b"tRNS" + struct.pack(">3H", *deep(picture(), 65535)[40, 60])
    chunk = struct.pack(">I", 6) + chunk + struct.pack(">I", zlib.crc32(chunk))
    at = whole.index(b"IDAT") - 4
    path.write_bytes(whole[:at] + chunk + whole[at:])
    assert "has a transparent colour of 16 bits; export it as 8-bit RGB" in refused(path)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "packbits"])
def test_fax_compressions(tmp_path: Path, compression: str) -> None:
    one = PillowImage.fromarray(grey()).convert("1")
    one.save(tmp_path / "a.tif", compression=compression)
    close_to(both_ways(tmp_path / "a.tif"), as_rgb(np.asarray(one, np.uint8) * 255), 0)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16"])
def test_white_is_zero(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "inverted.tif"
    most = {"bool": 1, "uint8": 255, "uint16": 65535}[dtype]
    stored = most - deep(grey(), most)
    tifffile.imwrite(path, stored.astype(dtype), photometric="miniswhite")
    expected = np.round((most - stored) * (255.0 / most)).astype(np.uint8)
    close_to(both_ways(path), as_rgb(expected))


@pytest.mark.parametrize("factor", [257, 1], ids=["16 bits", "8 bits in 16"])
def test_palettes(tmp_path: Path, factor: int) -> None:
    path = tmp_path / "palette.tif"
    colours = np.random.default_rng(3).integers(0, 256, (3, 256))
    tifffile.imwrite(
        path, grey(), photometric="palette", colormap=(colours * factor).astype(np.uint16)
    )
    np.testing.assert_array_equal(both_ways(path), colours.T[grey()])


@pytest.mark.parametrize(
    ("channels", "photometric", "message"),
    [
        (4, "separated", "4 channels, SEPARATED"),
        (3, "cielab", "3 channels, CIELAB"),
        (3, "icclab", "3 channels, ICCLAB"),
        (3, "ycbcr", "stores YCbCr without JPEG"),
        (3, "minisblack", "3 channels, MINISBLACK"),
        (2, "minisblack", "2 channels, MINISBLACK"),
    ],
)
def test_other_colours_are_refused(
    tmp_path: Path, channels: int, photometric: str, message: str
) -> None:
    path = tmp_path / "colours.tif"
    codes = {"separated": 5, "cielab": 8, "icclab": 9, "ycbcr": 6, "minisblack": 1}
    data = np.concatenate([picture(), picture()[..., :1]], axis=-1)[..., :channels].tobytes()
    tags = {258: ("H", (8,) * channels), 262: ("H", (codes[photometric],)), 277: ("H", (channels,))}
    write_tiff(path, data, tags)
    assert message in refused(path)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_inks_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"inks{suffix}"
    PillowImage.fromarray(picture()).convert("CMYK").save(path)
    assert "export it as 8-bit RGB" in refused(path)


def test_channels_apart_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "planar.tif"
    tifffile.imwrite(path, np.moveaxis(picture(), 2, 0), photometric="rgb", planarconfig="separate")
    assert "stores its channels apart" in refused(path)


def stored_for(orientation: int, upright: Image) -> Image:
    """Return the pixels that are ``upright`` once turned: each case written out as TIFF defines it."""
    stored: dict[int, Callable[[Image], Image]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(stored[orientation](upright))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".tif", ".tiled.tif", ".png", ".jpg", ".webp"])
def test_images_stand_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"turned{suffix}"
    stored = stored_for(orientation, picture())
    if suffix.endswith(".tif"):
        tile = (32, 48) if "tiled" in suffix else None
        tag = (274, "H", 1, orientation, True)
        tifffile.imwrite(path, stored, photometric="rgb", tile=tile, extratags=[tag])
    else:
        exif = PillowImage.Exif()
        exif[274] = orientation
        lossless = {"lossless": True} if suffix == ".webp" else {"quality": 100, "subsampling": 0}
        PillowImage.fromarray(stored).save(path, exif=exif, **lossless)
    close_to(both_ways(path), picture(), 6 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_without_meaning_is_none(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "turned.tif"
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(path, picture(), photometric="rgb", extratags=[tag])
    np.testing.assert_array_equal(both_ways(path), picture())


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_grey_profiles_are_applied(tmp_path: Path, suffix: str) -> None:
    # Grey of gamma 1: a sample of 55 is far brighter than sRGB's 55.
    curve = b"curv\0\0\0\0\0\0\0\0"
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    tags = [(b"wtpt", 156, len(white)), (b"kTRC", 156 + len(white), len(curve))]
    table = struct.pack(">I", 2) + b"".join(struct.pack(">4sII", *tag) for tag in tags)
    body = table + white + curve
    head = bytearray(128)
    struct.pack_into(">I", head, 0, 128 + len(body))
    head[8:12], head[12:24], head[36:40] = b"\x02\x10\0\0", b"mntrGRAYXYZ ", b"acsp"
    struct.pack_into(">3i", head, 68, 0xF6D6, 0x10000, 0xD32D)
    profile = bytes(head) + body
    path = tmp_path / f"grey{suffix}"
    plane = np.full((HEIGHT, WIDTH), 55, np.uint8)
    if suffix == ".tif":
        tifffile.imwrite(path, plane, iccprofile=profile)
    else:
        PillowImage.fromarray(plane).save(path, icc_profile=profile)
    assert np.abs(both_ways(path).astype(int) - 128).max() <= 3


@pytest.mark.parametrize("profile", [b"nonsense", b"\0" * 200])
def test_a_profile_of_no_use_is_named(tmp_path: Path, profile: bytes) -> None:
    path = tmp_path / "profiled.tif"
    tifffile.imwrite(path, picture(), photometric="rgb", iccprofile=profile)
    np.testing.assert_array_equal(both_ways(path), picture())
    assert any("colour profile cannot be used" in one for one in open_slide(path, UM).warnings)


def test_bits_in_reverse_order(tmp_path: Path) -> None:
    path = tmp_path / "reversed.tif"
    reverse = np.array([int(f"{value:08b}"[::-1], 2) for value in range(256)], np.uint8)
    tags = {258: ("H", (8,) * 3), 262: ("H", (2,)), 277: ("H", (3,)), 266: ("H", (2,))}
    write_tiff(path, reverse[picture()].tobytes(), tags)
    np.testing.assert_array_equal(both_ways(path), picture())


@pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd"])
@pytest.mark.parametrize("most", [255, 65535])
def test_predictors(tmp_path: Path, compression: str, most: int) -> None:
    path = tmp_path / "predicted.tif"
    samples = picture() if most == 255 else deep(picture(), most)
    tifffile.imwrite(path, samples, photometric="rgb", compression=compression, predictor=2)
    close_to(both_ways(path), picture())


def test_a_predictor_without_compression_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "predicted.tif"
    tags = {258: ("H", (8,) * 3), 262: ("H", (2,)), 277: ("H", (3,)), 317: ("H", (2,))}
    write_tiff(path, picture().tobytes(), tags)
    assert "predicted but not compressed" in refused(path)


def test_old_style_jpeg_is_unsupported_not_damaged(tmp_path: Path) -> None:
    path = tmp_path / "old.tif"
    tags = {258: ("H", (8,) * 3), 262: ("H", (6,)), 277: ("H", (3,)), 259: ("H", (6,))}
    write_tiff(path, picture().tobytes(), tags)
    assert "unsupported compression: old-style JPEG" in refused(path)


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".png", ".jpg"])
def test_plain_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plain{suffix}"
    PillowImage.fromarray(picture()).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    close_to(both_ways(path), picture(), 40 if suffix == ".jpg" else 0)


@pytest.mark.slow
def test_a_large_png_is_read_and_not_taken_for_an_attack(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    PillowImage.new("L", (20_000, 9_600), 200).save(path, compress_level=1)
    assert image_size(path) == (20_000, 9_600)
    read = read_image(path)
    assert read.shape == (9_600, 20_000, 3)
    assert read[9_599, 19_999].tolist() == [200, 200, 200]


def test_what_does_not_fit_into_memory_is_refused_with_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "strip.tif"
    tags = {258: ("H", (8,) * 3), 262: ("H", (2,)), 277: ("H", (3,))}
    sides = {256: ("I", (60_000,)), 257: ("I", (40_000,)), 278: ("I", (40_000,))}
    write_tiff(path, b"only a few bytes", {**tags, **sides})
    assert "one piece of 60000 x 40000 px that can only be decoded whole, which takes 6.7 GiB" in (
        refused(path)
    )
    path = tmp_path / "large.png"
    PillowImage.new("1", (1900, 900)).save(path)
    monkeypatch.setattr(images, "BYTES_PER_PIXEL", 10**8)
    assert "reading it takes 159256.2 GiB of memory, and there are" in refused(path)


def test_a_name_that_is_no_text_is_refused_at_once(tmp_path: Path) -> None:
    path = Path(str(tmp_path / "M\udcfcller.png"))
    try:
        PillowImage.fromarray(picture()).save(path)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 names only")
    for read in (read_image, image_size, open_slide):
        with pytest.raises(SlideError, match=r"M\\xfcller\.png: its name is not UTF-8 text"):
            read(path)


def textured() -> PillowImage.Image:
    rng = np.random.default_rng(5)
    return PillowImage.fromarray(
        np.asarray(
            PillowImage.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).resize((480, 320))
        )
    )


JPEGS: dict[str, dict[str, Any]] = {
    "4:2:0": {},
    "4:4:4": {"subsampling": "4:4:4"},
    "progressive": {"progressive": True},
    "restart intervals": {"restart_marker_blocks": 7},
    "RGB": {"keep_rgb": True},
    "poor": {"quality": 5},
}


def zeroed(data: bytearray, middle: int) -> None:
    data[middle : middle + 1024] = bytes(1024)


def dropped(data: bytearray, middle: int) -> None:
    del data[middle : middle + 512]


def overwritten(data: bytearray, middle: int) -> None:
    data[middle : middle + 1024] = bytes([0xA5, 0x3C, 0x71, 0x0E] * 256)


@pytest.mark.parametrize("harm", [zeroed, dropped, overwritten])
@pytest.mark.parametrize("kind", [kind for kind in JPEGS if kind != "poor"])
def test_a_jpeg_that_is_damaged_in_the_middle_is_refused(
    tmp_path: Path, kind: str, harm: Callable[[bytearray, int], None]
) -> None:
    path = tmp_path / "damaged.jpg"
    textured().save(path, **JPEGS[kind])
    data = bytearray(path.read_bytes())
    harm(data, len(data) // 2)
    path.write_bytes(data)
    with PillowImage.open(path) as image:
        image.load()  # it gives pixels, and no word

    assert "is a JPEG file, damaged or cut short: " in refused(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("chunk", [2**13, 2**20])
def test_a_png_whose_end_never_reached_the_disk_is_refused(
    tmp_path: Path, share: float, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.ImageFile.MAXBLOCK", chunk)
    path = tmp_path / "zeros.png"
    textured().save(path)
    data = path.read_bytes()
    missing = round(share * len(data))
    path.write_bytes(data[:-missing] + bytes(missing))

    assert "is a PNG file, damaged or cut short: " in refused(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_whose_end_never_reached_the_disk_is_refused(
    tmp_path: Path, share: float, lossless: bool
) -> None:
    path = tmp_path / "zeros.webp"
    noise = np.random.default_rng(6).integers(0, 255, (320, 480, 3), np.uint8)
    PillowImage.fromarray(noise).save(path, lossless=lossless)
    data = path.read_bytes()
    missing = round(share * len(data))
    path.write_bytes(data[:-missing] + bytes(missing))

    assert "is a WebP file, damaged or cut short: its end was never written" in refused(path)


@pytest.mark.parametrize("lossless", [True, False])
def test_a_white_webp_is_not_taken_for_unwritten(tmp_path: Path, lossless: bool) -> None:
    path = tmp_path / "white.webp"
    PillowImage.new("RGB", (4000, 3000), "white").save(path, lossless=lossless)

    assert read_image(path).min() == 255


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_sound_jpeg_of_any_kind_opens(tmp_path: Path, kind: str, mode: str) -> None:
    path = tmp_path / "sound.jpg"
    textured().convert(mode).save(path, **JPEGS[kind])
    data = path.read_bytes()
    expected = np.asarray(PillowImage.open(path).convert("RGB"))
    for written in (data, data + bytes(40), data[:-2] + bytes(5) + data[-2:]):
        path.write_bytes(written)
        assert (read_image(path) == expected).all()
