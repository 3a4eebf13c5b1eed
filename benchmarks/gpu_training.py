"""Speed of training on a GPU: ``python -m benchmarks.gpu_training [--official PATH] [--json FILE]``.

``PATH`` is the folder ``PyramidPix2pix`` of the released code (github.com/bupt-ai-cz/BCI, fetched
beside, with kornia installed); without it the released step written out in ``benchmarks/literal.py``
takes its place, and the table says so. All in one run, at the paper's full width (64 channels, 1024
px): milliseconds per step (median of the later half), images per second, share of the bf16 matrix
peak (``--peak-tflops`` of the device), memory beside what ``training.memory`` expects, the share of
time that real runs wait for images (pixels on the GPU, and pinned copies of a cold cache), gradient
exchanges per step, translation in half precision against float32, of a folder and of a slide beside the
generator alone, and evaluation per image. What ``--seconds`` leave no
time for is named.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.literal import LiteralTrainer
from training.data import batches as batches_module
from training.data.batches import Batch
from training.data.cache import FOLDER, PIXELS
from training.data.images import read_image, to_batch
from training.data.pairs import open_dataset
from training.devices import make_fabric
from training.errors import TrainingError
from training.inference.checkpoints import load_generator
from training.inference.folder import translate_folder
from training.inference.tiling import largest_tiling
from training.memory import GIB, training_bytes
from training.models.pix2pix import build_model
from training.run.history import HISTORY, VALIDATION, CsvLog, read_numbers
from training.run.loop import train
from training.run.machine import half_precision
from training.settings.config import TrainConfig

OFFICIAL: Mapping[str, Any] = {
    "isTrain": True, "gpu_ids": [0], "checkpoints_dir": "", "name": "", "preprocess": "none",
    "pattern": "L1_L2_L3_L4", "input_nc": 3, "output_nc": 3, "ngf": 64, "ndf": 64,
    "netG": "resnet_9blocks", "netD": "basic", "n_layers_D": 3, "norm": "batch", "no_dropout": False,
    "init_type": "normal", "init_gain": 0.02, "gan_mode": "vanilla", "lr": 2e-4, "beta1": 0.5,
    "lambda_L1": 25.0, "weight_L2": 25.0, "weight_L3": 25.0, "weight_L4": 25.0, "direction": "AtoB",
}  # fmt: skip
WARM_UP = 4
FAILURES = (
    TrainingError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    OSError,
    ImportError,
)
"""What ends a row and not the table: a machine that is lent for minutes should show all it can."""


class Figures:
    """What was measured so far; written after each row, so that a stopped run leaves it."""

    def __init__(self, options: argparse.Namespace) -> None:
        on_gpu = options.device == "cuda"
        self.options = options
        self.until = time.monotonic() + options.seconds
        self.values: dict[str, Any] = {
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "side": options.side,
            "ngf": options.ngf,
            "rows": [],
            "not_reached": [],
        }

    def row(self, name: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Measure a row, unless time is up; what fails is a row too."""
        if time.monotonic() > self.until:
            self.values["not_reached"].append(name)
            return
        free_memory()
        began = time.monotonic()
        try:
            found = measure()
        except FAILURES as error:
            found = {"error": f"{type(error).__name__}: {str(error).strip()[:300]}"}
        found = {"name": name, **found, "took_s": round(time.monotonic() - began, 1)}
        print(json.dumps(found), flush=True)
        self.values["rows"].append(found)
        if self.options.json:
            self.options.json.write_text(json.dumps(self.values, indent=2))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path, help="PyramidPix2pix folder of the released code")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--ngf", type=int, default=64)
    parser.add_argument("--steps", type=int, default=16, help="timed steps of each row")
    parser.add_argument("--batches", default="2,8", help="batch sizes of the compiled rows")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="dense bf16 peak")
    parser.add_argument("--pairs", type=int, default=32, help="made-up pairs of the real runs")
    parser.add_argument("--seconds", type=float, default=240.0, help="begin no row after this long")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no CUDA GPU here; --device cpu --side 64 --ngf 4 --steps 2 tries the code path")
    figures = Figures(options)
    print({k: v for k, v in figures.values.items() if k not in ("rows", "not_reached")}, flush=True)
    sizes = [int(size) for size in options.batches.split(",")]
    first: dict[str, Any] = {"batch": sizes[0]}
    figures.row("released step", lambda: baseline(options))
    steps(
        figures,
        {
            "auto, not compiled": {**first, "compile": False},
            "auto, compiled (default)": first,
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        whole_runs(figures, options, Path(folder))
    steps(
        figures,
        {
            "auto, not compiled, recomputed": {**first, "compile": False, "recompute": True},
            "float32 (TF32), not compiled": {**first, "compile": False, "precision": "32"},
            "fp16, not compiled": {**first, "compile": False, "precision": "fp16"},
            **{f"auto, compiled, batch {size}": {"batch": size} for size in sizes[1:]},
            "auto, compiled, recomputed": {**first, "recompute": True},
            "cyclegan, crop of half the side, not compiled": {
                **first,
                "compile": False,
                "model": "cyclegan",
                "crop": options.side // 2,
            },
        },
    )
    show(figures.values, options.peak_tflops)


def steps(figures: Figures, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Time our step in several settings."""
    for name, changes in rows.items():
        figures.row(name, lambda changes=changes: ours(figures.options, **changes))  # type: ignore[misc]


def baseline(options: argparse.Namespace) -> dict[str, Any]:
    """Time the released step, batch 2, as it comes: TF32 convolutions, kernels tried out."""
    torch.backends.cudnn.benchmark = True
    he, ihc = images(2, options.side, options)
    if options.official is None:
        literal = LiteralTrainer(ndf=options.ngf).to(options.device)
        return {"what": "written out", **timed(lambda: literal.step(he, ihc), 2, options)}
    sys.path.insert(0, str(options.official))
    from models.pix2pix_model import Pix2PixModel  # type: ignore[import-not-found]

    model = Pix2PixModel(Namespace(**OFFICIAL))
    model.set_input({"A": he, "B": ihc, "A_paths": "", "B_paths": ""})
    return {"what": "released code", **timed(model.optimize_parameters, 2, options)}


def ours(options: argparse.Namespace, **changes: Any) -> dict[str, Any]:
    """Time one configuration of ours."""
    width = {"ngf": options.ngf, "ndf": options.ngf, "device": options.device}
    config = TrainConfig(scales=3, **width, **changes)
    fabric = make_fabric(config)
    model = build_model(config, fabric)
    side = config.crop or options.side
    he, ihc = images(config.batch, side, options)
    last = torch.channels_last
    work = Batch(he.contiguous(memory_format=last), ihc.contiguous(memory_format=last))
    tflop = None
    if not config.compile and not config.recompute and config.model == "pyramid-pix2pix":
        with FlopCounterMode(display=False) as counter:
            model.step([work])
        tflop = counter.get_total_flops() / 1e12 / config.batch
    expected = training_bytes(config, side, half_precision(fabric)) / GIB
    found = timed(lambda: model.step([work]), config.batch, options)
    return {**found, "expected_gib": expected, "tflop_per_image": tflop, **changes}


def timed(step: Callable[[], Any], batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """Time a step after warming up: the median of the later half of all steps, and peak memory."""
    on_gpu = options.device == "cuda"
    began = time.perf_counter()
    for _ in range(WARM_UP):
        step()
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    warm_s = time.perf_counter() - began
    milliseconds = on_gpu_times(step, options.steps) if on_gpu else cpu_times(step, options.steps)
    median = statistics.median(milliseconds[options.steps // 2 :])
    found = {"batch": batch, "ms": median, "images_per_s": 1000 * batch / median, "warm_s": warm_s}
    if on_gpu:
        found["allocated_gib"] = torch.cuda.max_memory_allocated() / GIB
        found["reserved_gib"] = torch.cuda.max_memory_reserved() / GIB
    return found


def on_gpu_times(step: Callable[[], Any], count: int) -> list[float]:
    """Return milliseconds of each step, by the GPU's own clock, without waiting in between."""
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    marks[0].record()
    for mark in marks[1:]:
        step()
        mark.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in pairwise(marks)]


def cpu_times(step: Callable[[], Any], count: int) -> list[float]:
    """Return milliseconds of each step."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        step()
        found.append(1000 * (time.perf_counter() - began))
    return found


def whole_runs(figures: Figures, options: argparse.Namespace, folder: Path) -> None:
    """Train for real, count exchanges, translate."""
    data = made_up_pairs(folder / "data", options.side, options.pairs)
    figures.row("run, pixels on the GPU", lambda: run(options, data, folder / "resident", 1.0))
    figures.row("exchanges", lambda: exchanges(options))
    figures.row("translation", lambda: translation(options, folder / "resident", data))
    figures.row("translation of a folder", lambda: folder_translation(options, folder))
    figures.row("translation of a slide", lambda: slide_translation(options, folder))
    figures.row("evaluation", lambda: evaluation(options, folder))
    figures.row("run, pinned, cold cache", lambda: run(options, data, folder / "pinned", 0.0))


def run(options: argparse.Namespace, data: Path, out: Path, share: float) -> dict[str, Any]:
    """Train for a few epochs; pixels live on the GPU up to ``share`` of its memory."""
    config = TrainConfig(
        recipe="robust", scales=3, ngf=options.ngf, ndf=options.ngf, epochs=(2, 2), ema=0.99,
        recalibrate=8, validate_every=4, val_pairs=4, log_every=6, device=options.device,
        tensorboard=False,
    )  # fmt: skip
    for path in (data / FOLDER).glob(f"*/{PIXELS}"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = batches_module.RESIDENT_SHARE
    batches_module.RESIDENT_SHARE = share
    try:
        train(config, open_dataset(data), out)
    finally:
        batches_module.RESIDENT_SHARE = before
    history = read_numbers(CsvLog(out / HISTORY).rows())
    validation = read_numbers(CsvLog(out / VALIDATION).rows())
    later = {k: statistics.median(history[k][len(history[k]) // 2 :]) for k in HISTORY_COLUMNS}
    return {**later, "psnr": validation["psnr"], "ssim": validation["ssim"]}


HISTORY_COLUMNS = ("images_per_s", "waiting")


def exchanges(options: argparse.Namespace) -> dict[str, Any]:
    """Count gradient exchanges per step, in one process of torchrun."""
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "1",
    ]
    words = ["-m", "benchmarks.gpu_training_ddp", options.device]
    done = subprocess.run([*launch, *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-300:].replace("\n", " "))
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def translation(options: argparse.Namespace, trained: Path, data: Path) -> dict[str, Any]:
    """Time the trained generator on an image, in half precision and float32, and compare."""
    image = to_batch(read_image(next((data / "HE" / "train").iterdir()))).to(options.device)
    half = load_generator(trained, options.device, "auto")
    exact = replace(half, half=False)
    difference = (half(image).int() - exact(image).int()).abs()
    timings = {}
    for name, generator in (("half", half), ("float32", exact)):
        for _ in range(2):
            generator(image).cpu()
        times = cpu_times(lambda generator=generator: generator(image).cpu(), 8)  # type: ignore[misc]
        timings[f"{name}_ms"] = statistics.median(times)
    return {
        **timings,
        "largest_difference": int(difference.max()),
        "mean_difference": float(difference.float().mean()),
        "share_above_1": float((difference > 1).float().mean()),
        "used": half.checked(image).arithmetic,
    }


def folder_translation(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time the translation of a folder of PNGs, beside the generator alone on the same images."""
    he = folder / "data" / "HE" / "train"
    trained = load_generator(folder / "resident", options.device, "auto")
    sources = sorted(he.iterdir())
    pixels = [to_batch(read_image(path)).to(options.device) for path in sources[:8]]
    trained = trained.checked(pixels[0])
    alone = cpu_times(lambda: [trained(image).cpu() for image in pixels], 2)[1] / len(pixels)
    began = time.perf_counter()
    translate_folder(trained, he, folder / "translated")
    each = 1000 * (time.perf_counter() - began) / len(sources)
    return {"images": len(sources), "ms_per_image": each, "generator_alone_ms": alone}


def slide_translation(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time the translation of a whole slide, beside the generator alone on one of its windows.

    Needs what reads and writes slides, which training does without.
    """
    from pipeline.stages.settings import TranslateSettings
    from pipeline.stages.translate import TranslateRequest, translate_slide
    from registration.geometry import Size
    from registration.slides.pyramid import PyramidSpec, encode_unit, unit_boxes, write_pyramid

    side = 8 * options.side
    spec = PyramidSpec(size=Size(side, side), mpp=0.5)
    tile = read_image(next((folder / "data" / "HE" / "train").iterdir()))
    units = (
        encode_unit(spec, np.resize(tile, (box.height, box.width, 3)), box)
        for box in unit_boxes(spec)
    )
    write_pyramid(folder / "slide.tif", spec, units)
    settings = TranslateSettings(everywhere=True, device=options.device)
    request = TranslateRequest(
        folder / "resident", folder / "slide.tif", folder / "ihc.tif", settings
    )
    began = time.perf_counter()
    translate_slide(request, lambda stage, done, total: None)
    seconds = time.perf_counter() - began
    trained = load_generator(folder / "resident", options.device, "auto")
    tiling = largest_tiling(trained)
    window = torch.zeros((1, 3, tiling.window_px, tiling.window_px), dtype=torch.uint8)
    alone = min(cpu_times(lambda: trained(window).cpu(), 3)) / 1000
    return {
        "side": side,
        "seconds": seconds,
        "megapixels_per_s": side**2 / 1e6 / seconds,
        "generator_alone_s": alone * (side / min(tiling.tile_px, 2048)) ** 2,
        "window_px": tiling.window_px,
    }


def evaluation(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time the full protocol with its controls, per image."""
    from training.evaluation.run import EvaluationRequest, run_evaluation
    from training.settings.evaluate import EvaluateSettings

    settings = EvaluateSettings(split="train", images=16, device=options.device)
    request = EvaluationRequest(
        dataset=open_dataset(folder / "data"),
        out=folder / "scores",
        model=folder / "resident",
        settings=settings,
    )
    marks = [time.perf_counter()]
    run_evaluation(request, lambda done, total: marks.append(time.perf_counter()))
    each = statistics.median(b - a for a, b in pairwise(marks[2:]))
    return {"images": 16, "s_per_image": each, "bci_test_set_minutes": each * 977 / 60}


def show(values: dict[str, Any], peak: float) -> None:
    """Print the table, with the ratio to the first row and the share of the matrix peak."""
    rows = [row for row in values["rows"] if "ms" in row]
    tflop = next((row["tflop_per_image"] for row in rows if row.get("tflop_per_image")), None)
    head = f"{'step':<46}{'batch':>6}{'ms':>9}{'images/s':>10}{'times':>7}{'of peak':>9}"
    print(f"{head}{'GiB':>7}{'expected':>10}{'warm s':>8}")
    for row in rows:
        times = row["images_per_s"] / rows[0]["images_per_s"]
        share = row["images_per_s"] * tflop / peak if tflop and "model" not in row else None
        print(
            f"{row['name']:<46}{row['batch']:>6}{row['ms']:>9.1f}{row['images_per_s']:>10.2f}"
            f"{times:>7.2f}{'' if share is None else f'{share:.1%}':>9}"
            f"{_gib(row.get('reserved_gib')):>7}{_gib(row.get('expected_gib')):>10}"
            f"{row['warm_s']:>8.1f}"
        )
    for row in values["rows"]:
        if "ms" not in row:
            print(json.dumps(row))
    if values["not_reached"]:
        print(f"no time was left for: {', '.join(values['not_reached'])}")


def _gib(value: float | None) -> str:
    """Return a number of GiB, or nothing."""
    return "" if value is None else f"{value:.1f}"


def free_memory() -> None:
    """Forget graphs and cached memory of the row before."""
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def images(batch: int, side: int, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Return made-up images on the device."""
    shape = (batch, 3, side, side)
    he, ihc = (torch.rand(shape, device=options.device) * 2 - 1 for _ in range(2))
    return he, ihc


def made_up_pairs(root: Path, side: int, count: int) -> Path:
    """Write pairs whose IHC follows from the H&E: coloured smooth noise and its inverse."""
    for number in range(count):
        random = np.random.default_rng(number)
        coarse = random.integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8)
        he = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
        for domain, pixels in (("HE", he), ("IHC", 255 - he[..., [1, 2, 0]])):
            folder = root / domain / "train"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number:05d}_train_1+.png", compress_level=1)
    return root


if __name__ == "__main__":
    main()
