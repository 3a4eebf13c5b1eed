"""Speed of training on a GPU: ``python -m benchmarks.gpu_training --official PATH [--json FILE]``.

``PATH`` is the folder ``PyramidPix2pix`` of the released code (github.com/bupt-ai-cz/BCI, fetched
beside, with kornia installed); without it the released step written out in ``benchmarks/literal.py``
takes its place, and the table says so. All in one run: images per second at 1024 px, batch 2 and at
growing batches, memory, share of the bf16 matrix peak (``--peak-tflops`` of the device), the share
of time spent waiting for images in a real run, a learning curve, and DDP with one process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.literal import LiteralTrainer
from training.data.batches import Batch
from training.data.pairs import open_dataset
from training.devices import make_fabric
from training.inference.checkpoints import read_checkpoint
from training.models.pix2pix import build_model
from training.run.history import HISTORY, VALIDATION, Table, read_numbers
from training.run.loop import train
from training.settings.config import TrainConfig

BATCHES = (2, 4, 8, 16, 32)
OFFICIAL: Mapping[str, Any] = {
    "isTrain": True, "gpu_ids": [0], "checkpoints_dir": "", "name": "", "preprocess": "none",
    "pattern": "L1_L2_L3_L4", "input_nc": 3, "output_nc": 3, "ngf": 64, "ndf": 64,
    "netG": "resnet_9blocks", "netD": "basic", "n_layers_D": 3, "norm": "batch", "no_dropout": False,
    "init_type": "normal", "init_gain": 0.02, "gan_mode": "vanilla", "lr": 2e-4, "beta1": 0.5,
    "lambda_L1": 25.0, "weight_L2": 25.0, "weight_L3": 25.0, "weight_L4": 25.0, "direction": "AtoB",
}  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path, help="PyramidPix2pix folder of the released code")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--ngf", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each row")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="dense bf16 peak")
    parser.add_argument("--data", type=Path, help="dataset for the runs; default: made-up pairs")
    parser.add_argument("--epochs", default="4+4", help="of the learning curve")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--skip-runs", action="store_true", help="only the table of steps")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no CUDA GPU here; --device cpu --side 64 --ngf 4 --steps 1 tries the code path")
    about = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "side": options.side,
    }
    print(about, flush=True)
    rows = [baseline_row(options), *our_rows(options)]
    show(rows, options.peak_tflops)
    runs = {} if options.skip_runs else whole_runs(options)
    print(json.dumps(runs, indent=2))
    if options.json:
        options.json.write_text(json.dumps({**about, "rows": rows, "runs": runs}, indent=2))


def baseline_row(options: argparse.Namespace) -> dict[str, Any]:
    """Time the released step, batch 2, as it comes."""
    he, ihc = images(2, options)
    if options.official is None:
        literal = LiteralTrainer(ndf=options.ngf).to(options.device)
        name, step = "literal released step (no --official)", lambda: literal.step(he, ihc)
    else:
        name, step = "released code", official_step(options.official, he, ihc)
    return timed(name, step, 2, options) | {"tflop": None}


def official_step(path: Path, he: Tensor, ihc: Tensor) -> Callable[[], Any]:
    """Return the training step of the released code, fetched to ``path``."""
    sys.path.insert(0, str(path))
    from models.pix2pix_model import Pix2PixModel  # type: ignore[import-not-found]

    model = Pix2PixModel(Namespace(**OFFICIAL))
    model.set_input({"A": he, "B": ihc, "A_paths": "", "B_paths": ""})
    return lambda: model.optimize_parameters()


def our_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time our step: batch 2, then larger ones until the memory is full; and two halved ways."""
    rows = [our_row("ours, float32, not compiled", 2, options, precision="32", compile=False)]
    rows.append(our_row("ours, bf16, not compiled", 2, options, compile=False))
    for batch in BATCHES:
        try:
            rows.append(our_row("ours", batch, options))
        except torch.cuda.OutOfMemoryError:
            print(f"batch {batch} does not fit", flush=True)
            break
    rows.append(our_row("ours, recomputed activations", 2, options, recompute=True))
    return rows


def our_row(name: str, batch: int, options: argparse.Namespace, **changes: Any) -> dict[str, Any]:
    """Time one configuration of ours."""
    config = TrainConfig(
        scales=3, ngf=options.ngf, ndf=options.ngf, batch=batch, device=options.device, **changes
    )
    model = build_model(config, make_fabric(config))
    he, ihc = images(batch, options)
    work = Batch(
        he.contiguous(memory_format=torch.channels_last),
        ihc.contiguous(memory_format=torch.channels_last),
    )
    tflop = None
    if config.compile is False and config.recompute is False:
        with FlopCounterMode(display=False) as counter:
            model.step([work])
        tflop = counter.get_total_flops() / 1e12 / batch
    return timed(name, lambda: model.step([work]), batch, options) | {"tflop": tflop}


def timed(
    name: str, step: Callable[[], Any], batch: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Time ``step`` after warming up; return images per second and peak memory."""
    on_gpu = options.device == "cuda"
    for _ in range(3):
        step()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(options.steps):
        step()
    if on_gpu:
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - began) / options.steps
    memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None
    row = {"name": name, "batch": batch, "images_per_s": batch / seconds, "gib": memory}
    print(row, flush=True)
    return row


def show(rows: list[dict[str, Any]], peak: float) -> None:
    """Print the table, with the ratio to the first row and the share of the matrix peak."""
    tflop = next((row["tflop"] for row in rows if row["tflop"]), None)
    print(f"{'step':<40}{'batch':>6}{'images/s':>10}{'times':>8}{'GiB':>8}{'of peak':>9}")
    for row in rows:
        times = row["images_per_s"] / rows[0]["images_per_s"]
        share = f"{row['images_per_s'] * tflop / peak:.1%}" if tflop else ""
        memory = f"{row['gib']:.1f}" if row["gib"] is not None else ""
        print(
            f"{row['name']:<40}{row['batch']:>6}{row['images_per_s']:>10.2f}{times:>8.2f}"
            f"{memory:>8}{share:>9}"
        )


def whole_runs(options: argparse.Namespace) -> dict[str, Any]:
    """Train for real: waiting share and learning curve, then DDP with one process."""
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or made_up_pairs(Path(folder) / "data", options.side)
        settings = ["scales=3", f"ngf={options.ngf}", f"ndf={options.ngf}", "validate_every=1"]
        config = TrainConfig(
            recipe="robust",
            scales=3,
            ngf=options.ngf,
            ndf=options.ngf,
            epochs=tuple(int(n) for n in options.epochs.split("+")),  # type: ignore[arg-type]
            ema=0.99,
            recalibrate=8,
            validate_every=1,
            log_every=20,
            device=options.device,
        )
        out = Path(folder) / "run"
        train(config, open_dataset(data), out)
        history = read_numbers(Table(out / HISTORY).rows())
        validation = read_numbers(Table(out / VALIDATION).rows())
        ddp = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "1", "-m"]
        ddp += ["benchmarks.gpu_training_ddp", str(data), str(Path(folder) / "ddp"), *settings]
        done = subprocess.run([*ddp, f"device={options.device}"], check=False)
        finished = done.returncode == 0
        steps = (
            read_checkpoint(Path(folder) / "ddp" / "checkpoint.pt")["position"] if finished else {}
        )
    return {
        "images_per_s": history["images_per_s"],
        "waiting": history["waiting"],
        "psnr": validation.get("psnr"),
        "ssim": validation.get("ssim"),
        "ddp_steps": steps.get("total"),
    }


def images(batch: int, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Return made-up images on the device."""
    shape = (batch, 3, options.side, options.side)
    he, ihc = (torch.rand(shape, device=options.device) * 2 - 1 for _ in range(2))
    return he, ihc


def made_up_pairs(root: Path, side: int, count: int = 48) -> Path:
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
