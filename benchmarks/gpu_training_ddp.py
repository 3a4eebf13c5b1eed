"""One short run under ``torchrun``, started by ``benchmarks.gpu_training``: DATA OUT NAME=VALUE..."""

from __future__ import annotations

import sys
from pathlib import Path

from training.data.pairs import open_dataset
from training.run.loop import train
from training.settings.sources import resolve


def main() -> None:
    """Train for one epoch."""
    data, out, *settings = sys.argv[1:]
    given = dict(text.split("=", 1) for text in settings)
    train(resolve({"epochs": "1+0", **given}, environment={}), open_dataset(Path(data)), Path(out))


if __name__ == "__main__":
    main()
