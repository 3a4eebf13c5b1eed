"""Good inputs of every kind, small, of which bad ones are made."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import torch
from PIL import Image

from registration.geometry import Size
from registration.synth.ndpi import NdpiSpec, write_ndpi
from training.inference.checkpoints import TrainedGenerator, save_generator
from training.models.generators import GeneratorSpec, build_generator
from training.models.official import save_official

MPP = 0.5
POINTS = "id,x,y\n" + "".join(f"{k},{100 + 7 * k},{90 + 5 * k}\n" for k in range(6))
PAIRS = "id,he_x,he_y,ihc_x,ihc_y,enabled\n" + "".join(
    f"{k},{100 + 300 * (k % 2)},{100 + 90 * k},{90 + 310 * (k % 2)},{80 + 95 * k},true\n"
    for k in range(6)
)
BIGWARP = "".join(
    f'"Pt-{k}","true",{100.5 + 300 * (k % 2)},{100 + 90 * k},{90 + 310 * (k % 2)},{80 + 95 * k}\n'
    for k in range(6)
)
LABELS = "case,patient,her2,split\nrun,p1,2+,train\n"
_SQUARE = [[[100, 100], [600, 100], [600, 700], [100, 700], [100, 100]]]
GEOJSON = json.dumps(
    {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": {"type": kind, "coordinates": coordinates},
                "properties": {"name": name, "classification": {"name": "piece 1"}},
            }
            for kind, coordinates, name in (
                ("Polygon", _SQUARE, "a"),
                ("MultiPolygon", [_SQUARE, _SQUARE], "c"),
                *(("Point", [150 + 200 * k, 150 + 70 * k * k], f"p{k}") for k in range(4)),
            )
        ],
    }
)
MANIFEST = """name: cohort
out: out
register: {blocks: 2x2, recipe: default}
patch: {size: 256, layout: bci, mpp: 0.5}
split: {test: 0.5, seed: 3}
train: {epochs: 1+1, crop: 64, batch: 1}
synthetic: {folder: drawn, size: 1024, cases: 2, her2: [0, 3+]}
cases:
  - {id: p1, patient: p1, her2: 2+, he: he.png, ihc: ihc.png, mpp_he: 0.5, mpp_ihc: 0.5}
  - {id: p2, patient: p2, her2: 0, he: he2.png, ihc: ihc2.png, landmarks: marks.csv}
"""
STUDY = json.dumps({"format": "bci-pipeline reader study", "version": 1, "study": "1234abcd"})
KEY = "image,kind,pair,her2,patient\n001,real,a,0,p\n002,generated,a,0,p\n"
SHEET = "study,reader,image,her2\n1234abcd,Ada,001,0\n1234abcd,Ada,002,3+\n"
TABLE = (
    "he_file,ihc_file,case,kept,split,patient,her2,mpp,shift_um\n"
    "HE/train/a_train_0.png,IHC/train/a_train_0.png,a,true,train,p,0,0.5,1.5\n"
    "HE/train/b_train_0.png,IHC/train/b_train_0.png,b,true,train,q,0,0.5,1.5\n"
)
CONFIG = {"model": "pyramid-pix2pix", "batch": 1, "epochs": "1+1", "lr": 0.0002, "crop": 32}
SCHEDULER = json.dumps(
    {"type": "Scheduler", "id": "Scheduler-1", "address": "tcp://127.0.0.1:1", "workers": {}}
)


@dataclass(frozen=True)
class Bench:
    """Where the good inputs lie."""

    folder: Path
    run: Path
    """A run folder, with its slides ``he.png`` and ``ihc.png`` beside it."""

    @property
    def slide(self) -> Path:
        """A slide that every command reads."""
        return self.folder / "slide.png"

    @property
    def slides(self) -> list[Path]:
        """A small slide in every format that can be written here."""
        return sorted(self.folder.glob("slide*"))

    @property
    def data(self) -> Path:
        """A dataset of two pairs."""
        return self.folder / "data"

    @property
    def made(self) -> Path:
        """A dataset of ours."""
        return self.folder / "made"

    @property
    def trained(self) -> Path:
        """The folder of a training."""
        return self.folder / "trained"

    @property
    def canary(self) -> Path:
        """A file that appears where code out of a file was run."""
        return self.folder / "canary"

    @property
    def model(self) -> Path:
        """A generator of a few weights."""
        return self.folder / "model.pt"


def make_bench(folder: Path, run: Path) -> Bench:
    """Write the good inputs into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    _write_plain(folder, pixels)
    _write_tiffs(folder, pixels)
    for stain in ("HE", "IHC"):
        path = folder / "data" / stain / "train" / "a_train_0.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels[:64, :64]).save(path)
        shutil.copy(path, path.with_name("b_train_0.png"))
    (folder / "data" / "patches.csv").write_text(TABLE)
    _write_model(folder)
    bench = Bench(folder, run)
    settings = ("--epochs", "1+0", "--ngf", "1", "--crop", "32", "--batch", "1")
    commands = (
        ("patch", run, "--size", "256", "--workers", "1", "--out", bench.made),
        ("train", bench.data, *settings, "--device", "cpu", "--out", bench.trained),
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *map(str, words)], stdout=subprocess.DEVNULL
        )
        for words in commands
    ]
    if any(child.wait() for child in children):
        raise RuntimeError("the good inputs could not be made")
    return bench


def _write_plain(folder: Path, pixels: np.ndarray) -> None:
    """Write the formats that are decoded whole."""
    image = Image.fromarray(pixels)
    for suffix in ("png", "jpg", "bmp", "webp"):
        image.save(folder / f"slide.{suffix}")
    deep = (pixels[..., 0].astype(np.uint16) << 8) + 255
    Image.fromarray(deep).save(folder / "slide16.png")
    rgba = Image.fromarray(np.dstack([pixels, pixels[..., :1]]))
    rgba.save(folder / "slide_rgba.png", exif=_exif(6))


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def _write_tiffs(folder: Path, pixels: np.ndarray) -> None:
    """Write TIFF of several kinds, and a vendor's."""
    cm = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(folder / "slide.tif", pixels, tile=(32, 32), compression="jpeg", **cm)
    tifffile.imwrite(folder / "slide_strips.tif", pixels, compression="lzw", rowsperstrip=7)
    tifffile.imwrite(folder / "slide_16.tif", pixels.astype(np.uint16) * 257, photometric="rgb")
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    tifffile.imwrite(
        folder / "slide_planar.tif", planes, planarconfig="separate", photometric="rgb"
    )
    tifffile.imwrite(folder / "slide_grey.tif", pixels[..., 0], photometric="miniswhite")
    about = {"axes": "YXS", "PhysicalSizeX": MPP, "PhysicalSizeY": MPP}
    with tifffile.TiffWriter(folder / "slide.ome.tif", ome=True) as file:
        file.write(pixels, photometric="rgb", metadata=about, subifds=1, tile=(32, 32))
        file.write(pixels[::2, ::2], photometric="rgb", subfiletype=1, tile=(32, 32))
    words = (
        "Aperio Image Library v11\n160x96 [0,0 160x96] (32x32) JPEG/RGB Q=70|AppMag = 20|MPP = 0.5"
    )
    tifffile.imwrite(
        folder / "slide.svs",
        pixels,
        tile=(32, 32),
        compression="jpeg",
        description=words,
        metadata=None,
    )
    write_ndpi(folder / "slide.ndpi", NdpiSpec(Size(128, 64), MPP), [pixels[:64, :128]])


def _write_model(folder: Path) -> None:
    """Write a generator as ours and as the original code's."""
    torch.manual_seed(0)
    spec = GeneratorSpec(width=4, blocks=1, dropout=None)
    network = build_generator(spec).eval()
    config = {"model": "pix2pix", "recipe": "robust"}
    save_generator(folder / "model.pt", TrainedGenerator(network, spec, folder, MPP, config, 1))
    save_official(network, folder / "model.pth")
