"""How well and how fast images are scored: ``python -m benchmarks.metrics [--json FILE]``.

PSNR, SSIM and DAB density against scikit-image, shift-tolerant SSIM against a search over every
offset, on the eight BCI pairs in ``../shared/data`` where they are at hand and on synthetic tissue.
Agreement is the largest difference over the images; time is the median per image, on one thread
and, where there is one, on the GPU. Then what ``evaluate`` takes per image with its controls, shifts of
up to 8 px allowed, on all cores, and what that makes for BCI's test set.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.color import rgb2hed
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from pipeline.stages.evaluate import nuclei_of
from training.data.images import read_image, to_batch, write_png
from training.data.pairs import open_dataset
from training.evaluation.controls import control_candidates
from training.evaluation.scoring import Scoring, evaluate
from training.evaluation.sources import folder_candidate
from training.metrics.published import psnr, ssim
from training.metrics.shift import shift_scores
from training.metrics.stain import dab_density

Image = NDArray[np.uint8]
BCI = Path(__file__).parents[2] / "shared" / "data" / "patches" / "bci"
SHIFT_CROP_PX = 256
SHIFT_REACH_PX = 4
BCI_TEST_PAIRS, BCI_SIDE_PX = 977, 1024


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1024, help="side of the synthetic images")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs per image")
    parser.add_argument("--images", type=int, default=8, help="images that evaluate is timed on")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rows = []
    for name, pairs in (("BCI pairs", bci_pairs()), ("synthetic", synthetic_pairs(options.side))):
        if pairs:
            rows += [{"images": f"{name} ({len(pairs)})", **row} for row in compare(pairs, options)]
    print_table(rows)
    torch.set_num_threads(os.cpu_count() or 1)
    whole = [evaluation_row(side, options.images) for side in (512, 1024)]
    for found in whole:
        print(json.dumps(found))
    if options.json:
        figures = {"torch": torch.__version__, "rows": rows, "evaluate": whole}
        options.json.write_text(json.dumps(figures, indent=2))


def evaluation_row(side: int, count: int) -> dict[str, Any]:
    """Time ``evaluate`` on generated images, read from files, with all its controls."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number, (real, fake) in enumerate(synthetic_pairs(side, count)):
            for kind, image in (("HE", fake), ("IHC", real), ("made", fake)):
                write_png(root / kind / f"{number:05d}_test_1+.png", image)
        pairs = open_dataset(he=root / "HE", ihc=root / "IHC").pairs
        candidates = (folder_candidate(root / "made", pairs), *control_candidates((), pairs))
        began, used = time.perf_counter(), time.process_time()
        evaluate(pairs, candidates, Scoring(nuclei=nuclei_of))
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
    found: dict[str, Any] = {"side": side, "images": count, "cores": os.cpu_count()}
    found |= {"s_per_image": seconds / count, "cpu_s_per_image": cpu / count}
    if side == BCI_SIDE_PX:
        found["bci_test_set_minutes"] = seconds / count * BCI_TEST_PAIRS / 60
    return found


def compare(
    pairs: Sequence[tuple[Image, Image]], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return a row per metric: largest difference, milliseconds of both sides, ratio."""
    reference: dict[str, Callable[[Image, Image], Any]] = {
        "PSNR": lambda a, b: peak_signal_noise_ratio(a, b, data_range=255),
        "SSIM": lambda a, b: structural_similarity(a, b, channel_axis=2, data_range=255),
        "DAB density": lambda a, b: 6 * rgb2hed(b)[..., 2],
    }
    ours: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "PSNR": psnr,
        "SSIM": ssim,
        "DAB density": lambda a, b: dab_density(b),
    }
    rows = []
    for name in reference:
        apart, slow, fast, gpu = [], [], [], []
        for a, b in pairs:
            expected, seconds = timed(lambda a=a, b=b, f=reference[name]: f(a, b), options.repeats)
            slow.append(seconds)
            x, y = to_batch(a), to_batch(b)
            found, seconds = timed(lambda x=x, y=y, f=ours[name]: f(x, y), options.repeats)
            fast.append(seconds)
            apart.append(float(np.abs(found[0].numpy() - expected).max()))
            if torch.cuda.is_available():
                gpu.append(timed_on_gpu(ours[name], x.cuda(), y.cuda(), options.repeats))
        rows.append(row(name, max(apart), slow, fast, gpu))
    return [*rows, shift_row(pairs)]


def shift_row(pairs: Sequence[tuple[Image, Image]]) -> dict[str, Any]:
    """Compare the shift-tolerant SSIM of a crop with our SSIM at every offset."""
    apart, slow, fast = [], [], []
    side, reach = SHIFT_CROP_PX, SHIFT_REACH_PX
    for a, b in pairs:
        x, y = to_batch(a[:side, :side]), to_batch(b[:side, :side])
        best, seconds = timed(lambda x=x, y=y: every_offset(x, y, reach), 1)
        slow.append(seconds)
        found, seconds = timed(lambda x=x, y=y: shift_scores(x, y, reach).ssim.item(), 1)
        fast.append(seconds)
        apart.append(best - found)
    return row(f"shift SSIM, {side} px, ±{reach}", max(apart), slow, fast, [])


def every_offset(real: Tensor, fake: Tensor, reach: int) -> float:
    """Return the best SSIM over all offsets, each computed in full."""
    height, width = real.shape[-2:]
    middle = real[..., reach : height - reach, reach : width - reach]
    return max(
        ssim(middle, fake[..., y : y + middle.shape[-2], x : x + middle.shape[-1]]).item()
        for y in range(2 * reach + 1)
        for x in range(2 * reach + 1)
    )


def row(
    name: str, apart: float, slow: list[float], fast: list[float], gpu: list[float]
) -> dict[str, Any]:
    """Return one row of the table."""
    reference, ours = 1000 * statistics.median(slow), 1000 * statistics.median(fast)
    return {
        "metric": name,
        "largest_difference": apart,
        "reference_ms": reference,
        "ours_ms": ours,
        "ratio": reference / ours,
        "gpu_ms": 1000 * statistics.median(gpu) if gpu else None,
    }


def timed(work: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    """Return a result and the shortest of some runs, in seconds of this thread's CPU."""
    seconds = []
    for _ in range(repeats):
        start = time.thread_time()
        result = work()
        seconds.append(time.thread_time() - start)
    return result, min(seconds)


def timed_on_gpu(
    work: Callable[[Tensor, Tensor], Any], x: Tensor, y: Tensor, repeats: int
) -> float:
    """Return the shortest of some runs on the GPU, in seconds, after one that does not count."""
    seconds = []
    for _ in range(repeats + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work(x, y)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def bci_pairs() -> list[tuple[Image, Image]]:
    """Return the real IHC and H&E images of the BCI pairs at hand."""
    he = sorted((BCI / "HE" / "test").glob("*.png"))
    return [(read_image(BCI / "IHC" / "test" / path.name), read_image(path)) for path in he]


def synthetic_pairs(side: int, count: int = 4) -> list[tuple[Image, Image]]:
    """Return smooth textures and shifted, noisy copies of them."""
    pairs = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        field = cv2.GaussianBlur(rng.normal(size=(side, side, 3)), (0, 0), 2.5)
        real = np.clip(170 + 45 * field / field.std(), 0, 255).astype(np.uint8)
        noise = rng.normal(0, 10, real.shape)
        fake = np.clip(np.roll(real, (3, -2), axis=(0, 1)) + noise, 0, 255).astype(np.uint8)
        pairs.append((real, fake))
    return pairs


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows."""
    print(
        f"{'images':<15} {'metric':<24} {'difference':>11} {'reference':>10} {'ours':>9} ratio  GPU"
    )
    for r in rows:
        gpu = "" if r["gpu_ms"] is None else f"{r['gpu_ms']:.2f} ms"
        print(
            f"{r['images']:<15} {r['metric']:<24} {r['largest_difference']:>11.1e} "
            f"{r['reference_ms']:>7.1f} ms {r['ours_ms']:>6.1f} ms {r['ratio']:>5.1f}  {gpu}"
        )


if __name__ == "__main__":
    main()
