"""Speed of training on a CPU: ``python -m benchmarks.training_speed [--json FILE]``.

One step of pyramid pix2pix against the released step written out literally, the pyramid loss against
24 blurs, the loader against decoding side-by-side PNGs. Both sides of a row run in turns in one
process; figures are medians, ratios are how many times faster ours is.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from benchmarks.literal import LiteralTrainer, load_side_by_side, pyramid_terms
from training.data.batches import Batch, Batches, Sampling
from training.data.cache import open_cache
from training.data.pairs import open_dataset
from training.devices import make_fabric
from training.models.pix2pix import build_model
from training.models.pyramid import PyramidLoss
from training.settings.config import TrainConfig

PAIRS = 8


def main() -> None:
    """Run all three and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5, help="timed training steps of each side")
    parser.add_argument("--ngf", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=Path, help="dataset for the loader, instead of drawn noise")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [
        step_row(options.ngf, options.steps),
        pyramid_row(256, repeats=30),
        pyramid_row(1024, repeats=5),
        *loader_rows(options.pairs),
    ]
    print(f"torch {torch.__version__}, {platform.processor()}, {options.threads} thread(s)")
    print(f"{'what':<52}{'ours, ms':>12}{'literal, ms':>14}{'times':>8}")
    for row in rows:
        print(f"{row['what']:<52}{row['ours']:>12.2f}{row['literal']:>14.2f}{row['times']:>8.2f}")
    if options.json:
        options.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2))


def in_turns(
    what: str, ours: Callable[[], Any], literal: Callable[[], Any], repeats: int
) -> dict[str, Any]:
    """Time both sides in turns, after one round to warm up."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(repeats + 1):
        for side, run in zip(times, (ours, literal), strict=True):
            began = time.perf_counter()
            run()
            if number:
                side.append(1000 * (time.perf_counter() - began))
    fast, slow = (statistics.median(side) for side in times)
    return {"what": what, "ours": fast, "literal": slow, "times": slow / fast}


def step_row(ngf: int, repeats: int) -> dict[str, Any]:
    """Time one training step at 256 px, batch 2, S1 + S2 + S3, float32."""
    config = TrainConfig(scales=3, ngf=ngf, ndf=ngf, device="cpu")
    model = build_model(config, make_fabric(config))
    literal = LiteralTrainer(model.spec, ndf=ngf)
    he, ihc = (torch.rand(2, 256, 256, 3).permute(0, 3, 1, 2) * 2 - 1 for _ in range(2))
    batch, plain = Batch(he, ihc), (he.contiguous(), ihc.contiguous())
    what = f"training step, 256 px, batch 2, ngf {ngf}"
    return in_turns(what, lambda: model.step([batch]), lambda: literal.step(*plain), repeats)


def pyramid_row(side: int, repeats: int) -> dict[str, Any]:
    """Time S1 + S2 + S3 with gradients, batch 2."""
    fake = torch.rand(2, 3, side, side, requires_grad=True)
    real = torch.rand(2, 3, side, side)
    loss = PyramidLoss((0.0, 25.0, 25.0, 25.0))
    return in_turns(
        f"pyramid loss and gradient, {side} px, batch 2",
        lambda: torch.autograd.grad(loss(fake, real).sum(), fake),
        lambda: torch.autograd.grad(pyramid_terms(fake, real), fake),
        repeats,
    )


def side_by_side(dataset: Path | None) -> list[np.ndarray]:
    """Return H&E and IHC in one image: pairs of ``dataset``, or tissue-like noise of 1024 px."""
    if dataset is not None:
        return [np.hstack(pair.read()) for pair in open_dataset(dataset).pairs[:PAIRS]]
    random = np.random.default_rng(0)
    images = []
    for _ in range(PAIRS):
        noise = random.normal(0, 14, (1024, 2048, 3)).astype(np.float32)
        coarse = random.uniform(90, 230, (64, 128, 3)).astype(np.float32)
        image = cv2.resize(coarse, (2048, 1024), interpolation=cv2.INTER_CUBIC) + noise
        images.append(np.clip(image, 0, 255).astype(np.uint8))
    return images


def loader_rows(dataset: Path | None) -> list[dict[str, Any]]:
    """Time a pair: from the cache, and from a side-by-side PNG."""
    images = side_by_side(dataset)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        (root / "train").mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(root / "train" / f"{number:05d}_train_1+.png")
        pairs = open_dataset(root).select("train")
        cache = open_cache(pairs, Path(folder) / "cache")
        batches = Batches(cache, range(len(images)), Sampling(batch=1))
        plans = [(batches._plan(0, 0).part(slice(i, i + 1)),) * 2 for i in range(len(images))]
        files = [pair.he.path for pair in pairs]
        rows = [
            in_turns(
                f"a pair, 8-bit, against {what}",
                lambda: [batches._pixels(*plan) for plan in plans],
                lambda read=read: [read(path) for path in files],  # type: ignore[misc]
                repeats=3,
            )
            for what, read in (("decoding alone", decode), ("released loader", load_side_by_side))
        ]
    return [{**row, **{k: row[k] / len(images) for k in ("ours", "literal")}} for row in rows]


def decode(path: Path) -> Any:
    """Return a side-by-side PNG as 8-bit halves."""
    with Image.open(path) as image:
        both = np.asarray(image.convert("RGB"))
    return both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]


if __name__ == "__main__":
    main()
