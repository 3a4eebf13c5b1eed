from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import subprocess
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from registration.children import environment, python
from registration.errors import SlideError
from registration.files.images import read_image
from registration.geometry import Box, Image
from registration.slides.slide import open_slide

OPTION = "--mpp-he"

OPENS = {
    "cmu-1-small-region.svs": ("aperio", (2220, 2967), 0.499),
    "fluorescence.ndpi": ("hamamatsu", (3968, 4864), 0.228175),
}
NEEDS_MPP = {
    "tcga-cr-7395-01a-01-ts1.svs": "does not say how large a pixel is",
    "same_glass/A_BB_563479_1.svs": "1000 µm per pixel, which no slide scanner has",
    "same_glass/N1_BB_563479_1.ndpi": "1000 µm per pixel, which no slide scanner has",
    "same_glass/N2_BB_563479_1.ndpi": "1000 µm per pixel, which no slide scanner has",
    "same_glass/Z_BB_563479_1.tif": "1000 µm per pixel, which no slide scanner has",
}
REFUSED = {
    "broken/broken.svs": "is a text file, not an image",
    "broken/small_dicom.dcm": "is DICOM, but not a whole-slide image",
    "broken/unopenable.tiff": "unsupported compression: method 52479",
    "broken/unreadable.svs": "Bogus marker length. The file is damaged there",
}


def refusal(path: Path, mpp: float | None = None) -> str:
    with pytest.raises(SlideError) as refused:
        open_slide(path, mpp, OPTION)
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_the_table_covers_every_real_slide(real_data: Path) -> None:
    folder = real_data / "slides"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == OPENS.keys() | NEEDS_MPP.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", OPENS)
def test_these_open(real_data: Path, name: str) -> None:
    slide = open_slide(real_data / "slides" / name)
    vendor, (width, height), mpp = OPENS[name]
    assert (slide.vendor, slide.size.width, slide.size.height) == (vendor, width, height)
    assert slide.mpp == pytest.approx(mpp, rel=1e-5)
    assert slide.warnings == ()


@pytest.mark.parametrize("name", NEEDS_MPP)
def test_these_open_when_told_their_mpp(real_data: Path, name: str) -> None:
    path = real_data / "slides" / name
    message = refusal(path)
    assert NEEDS_MPP[name] in message
    assert OPTION in message
    slide = open_slide(path, 0.25, OPTION)
    assert slide.mpp == 0.25
    assert slide.read(Box(2000, 2000, 64, 48)).shape == (48, 64, 3)


@pytest.mark.parametrize("name", REFUSED)
def test_these_are_refused_with_their_reason(real_data: Path, name: str) -> None:
    assert REFUSED[name] in refusal(real_data / "slides" / name, mpp=0.5)


@pytest.mark.parametrize("share", [0.0001, 0.02, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize(
    "name",
    [
        "cmu-1-small-region.svs",
        "fluorescence.ndpi",
        "tcga-cr-7395-01a-01-ts1.svs",
        "same_glass/Z_BB_563479_1.tif",
    ],
)
def test_an_interrupted_copy_is_known(
    real_data: Path, tmp_path: Path, name: str, share: float
) -> None:
    content = (real_data / "slides" / name).read_bytes()
    path = tmp_path / Path(name).name
    path.write_bytes(content[: int(len(content) * share)])
    assert "is cut short: at least" in refusal(path, mpp=0.5)


def test_jpeg_xr_is_named(real_data: Path, tmp_path: Path) -> None:
    # As such a file from a NanoZoomer is laid out: tiles of compression 22610 under Hamamatsu's tags.
    content = bytearray((real_data / "slides" / "fluorescence.ndpi").read_bytes())
    first = struct.unpack_from("<I", content, 4)[0]
    for index in range(struct.unpack_from("<H", content, first)[0]):
        entry = first + 2 + 12 * index
        tag = struct.unpack_from("<H", content, entry)[0]
        if tag == 259:
            struct.pack_into("<H", content, entry + 8, 22610)
        if tag == 273:
            struct.pack_into("<H", content, entry, 324)
    path = tmp_path / "jpegxr.ndpi"
    path.write_bytes(content)
    assert "compressed with JPEG XR" in refusal(path, mpp=0.5)


def test_what_is_not_there_or_no_file_at_all(tmp_path: Path) -> None:
    (tmp_path / "p012_IHC.ndpi").touch()
    missing = refusal(tmp_path / "p012_ihc.ndpi")
    assert "slide not found" in missing
    assert f"Nearest: {tmp_path / 'p012_IHC.ndpi'}" in missing
    assert "Nearest" not in refusal(tmp_path / "elsewhere.svs")
    assert f"there is no folder {tmp_path / 'no'}" in refusal(tmp_path / "no" / "slide.svs")
    assert "is a folder" in refusal(tmp_path)
    assert "is empty (0 bytes)" in refusal(tmp_path / "p012_IHC.ndpi")


def test_a_slide_without_its_folder_is_not_taken_for_its_cover_picture(tmp_path: Path) -> None:
    path = tmp_path / "slide.mrxs"
    PillowImage.new("RGB", (64, 48)).save(path, format="JPEG")
    assert f"pixels are missing: no {tmp_path / 'slide'}" in refusal(path, mpp=0.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"sample,he,ihc\n" * 100, "is a text file"),
        (
            b"\x00\x01\x02\x03" * 5000,
            "not an image in a known format (its first bytes are 00 01 02",
        ),
        (b"II*\0", "is cut short"),
        (b"II*\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0", "is a damaged TIFF file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is a PNG file, damaged"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "is a JPEG file, damaged"),
    ],
)
def test_what_is_no_image(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "slide.svs"
    path.write_bytes(content)
    assert message in refusal(path, mpp=0.5)


PIXELS = np.random.default_rng(3).integers(0, 255, (40, 56, 3), np.uint8)
ENCODED = {
    "jls": ("is a JPEG-LS file", lambda: imagecodecs.jpegls_encode(PIXELS)),
    "jp2": ("is a JPEG 2000 file", lambda: imagecodecs.jpeg2k_encode(PIXELS)),
    "j2k": (
        "is a JPEG 2000 file",
        lambda: imagecodecs.jpeg2k_encode(PIXELS, codecformat="j2k"),
    ),
    "jxl": ("is a JPEG XL file", lambda: imagecodecs.jpegxl_encode(PIXELS, usecontainer=False)),
    "box.jxl": ("is a JPEG XL file", lambda: imagecodecs.jpegxl_encode(PIXELS, usecontainer=True)),
    "jxr": ("is a JPEG XR file", lambda: imagecodecs.jpegxr_encode(PIXELS)),
    "avif": ("is an AVIF file", lambda: imagecodecs.avif_encode(PIXELS)),
    "gif": ("is a GIF file", lambda: imagecodecs.gif_encode(PIXELS[..., 0])),
    "heic": ("is a HEIC file", lambda: b"\0\0\0\x18ftypheic" + bytes(100)),
    "czi": ("is a Zeiss CZI file", lambda: b"ZISRAWFILE" + bytes(100)),
    "zvi": ("is a Zeiss ZVI", lambda: b"\xd0\xcf\x11\xe0" + bytes(100)),
    "nd2": ("is a Nikon ND2 file", lambda: b"\xda\xce\xbe\x0a" + bytes(100)),
    "oir": ("is an Olympus OIR file", lambda: b"OLYMPUSRAWFORMAT" + bytes(100)),
    "ets": ("is an Olympus ETS file", lambda: b"SIS\0" + bytes(100)),
    "lif": ("is a Leica LIF file", lambda: b"p\0\0\0" + bytes(100)),
    "kfb": ("is a KFBIO file", lambda: b"KFB\0" + bytes(100)),
    "isyntax": (
        "is a Philips iSyntax file",
        lambda: b'<DataObject ObjectType="DPUfsImport">\n' * 20,
    ),
    "ndpis": (
        "is a Hamamatsu NDPIS file",
        lambda: b"[NanoZoomer Digital Pathology Image Set]\nNoImages=3\n",
    ),
    "vsi": ("is the cover of an Olympus slide", lambda: b"II*\0\x08\0\0\0" + bytes(100)),
    "pdf": ("is a PDF file", lambda: b"%PDF-1.7\n" * 20),
}


@pytest.mark.parametrize("suffix", ENCODED)
def test_a_format_that_is_not_read_is_named_with_the_remedy(tmp_path: Path, suffix: str) -> None:
    message, encoded = ENCODED[suffix]
    path = tmp_path / f"slide.{suffix}"
    path.write_bytes(encoded())
    with pytest.raises(SlideError) as as_image:
        read_image(path)
    for said in (refusal(path, mpp=0.5), str(as_image.value)):
        assert message in said
        assert "not read here" in said
        assert "Export it as a tiled TIFF" in said
        assert "damaged" not in said


def test_a_jpeg_of_the_usual_kind_that_is_damaged_is_not_called_foreign(tmp_path: Path) -> None:
    path = tmp_path / "slide.jpg"
    path.write_bytes(imagecodecs.jpeg8_encode(PIXELS)[:300])
    assert "is a JPEG file, damaged or cut short" in refusal(path, mpp=0.5)


ARCHIVED = {
    "zip": (b"PK\x03\x04" + bytes(60), "is a ZIP archive (or a document of Word, Excel"),
    "gz": (gzip.compress(bytes(100)), "is a gzip archive"),
    "bz2": (bz2.compress(bytes(100)), "is a bzip2 archive"),
    "xz": (lzma.compress(bytes(100)), "is an xz archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(60), "is a 7z archive"),
    "rar": (b"Rar!\x1a\x07\x01\x00" + bytes(60), "is a RAR archive"),
}


@pytest.mark.parametrize("kind", ARCHIVED)
def test_an_archive_under_the_name_of_a_slide_is_named(tmp_path: Path, kind: str) -> None:
    content, message = ARCHIVED[kind]
    (tmp_path / "slide.svs").write_bytes(content)

    said = refusal(tmp_path / "slide.svs", mpp=0.5)

    assert message in said
    assert "Unpack or open it, and give the image in it" in said


def test_what_macos_keeps_beside_a_slide_is_no_slide(tmp_path: Path) -> None:
    (tmp_path / "._slide.svs").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00" + bytes(80))

    assert "is what macOS keeps beside a file; give slide.svs itself" in refusal(
        tmp_path / "._slide.svs", mpp=0.5
    )


@pytest.mark.parametrize("target", ["nowhere.svs", "link.svs"])
def test_a_link_that_leads_nowhere_is_told(tmp_path: Path, target: str) -> None:
    link = tmp_path / "link.svs"
    link.symlink_to(target)

    said = refusal(link, mpp=0.5)

    assert said == f"slide not found: {link} is a link to {target}"


def picture() -> Image:
    return np.random.default_rng(2).integers(0, 255, (90, 130, 3), np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_plain_image_cut_short(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    PillowImage.fromarray(picture()).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "file, damaged or cut short" in refusal(path, mpp=0.5)


@pytest.mark.parametrize(
    ("pixels", "options", "message"),
    [
        (
            picture().astype(np.float32),
            {"photometric": "rgb"},
            "float32 pixels; export it as 8-bit",
        ),
        (np.moveaxis(picture(), 2, 0), {"photometric": "rgb"}, "stores its channels apart"),
        (
            np.zeros((90, 130, 2), np.uint8),
            {"photometric": "minisblack", "planarconfig": "contig"},
            "2 channels, MINISBLACK",
        ),
        (np.zeros((5, 90, 130), np.uint8), {"photometric": "minisblack"}, "holds 5 planes"),
        (np.zeros((90, 130, 4), np.uint8), {"photometric": "separated"}, "4 channels, SEPARATED"),
    ],
)
def test_tiffs_that_are_no_rgb_image(
    tmp_path: Path, pixels: Image, options: dict[str, str], message: str
) -> None:
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, pixels, metadata=None, **options)
    assert message in refusal(path, mpp=0.5)


def test_giants_that_can_only_be_decoded_whole(tmp_path: Path) -> None:
    path = tmp_path / "giant.png"
    PillowImage.new("1", (30_000, 20_000)).save(path)
    assert "30000 x 20000 px, too large" in refusal(path, mpp=0.5)


def test_a_32_bit_tiff_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, np.zeros((40, 30), np.uint32))
    assert "uint32 pixels" in refusal(path, mpp=0.5)


def test_a_library_says_nothing_beside_the_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((32, 32, 3), np.uint8), photometric="rgb")
    damaged = bytearray(path.read_bytes())
    first = struct.unpack_from("<I", damaged, 4)[0]
    struct.pack_into("<H", damaged, first + 4, 0)  # the type of the first tag
    path.write_bytes(damaged)
    code = (
        "import sys; from pathlib import Path; from registration.errors import SlideError\n"
        "from registration.files.images import read_image\n"
        "try: read_image(Path(sys.argv[1]))\n"
        "except SlideError as error: print(error)"
    )

    done = subprocess.run(
        python("-c", code, str(path)), env=environment(), capture_output=True, text=True, check=True
    )

    assert str(path) in done.stdout
    assert done.stderr == ""
