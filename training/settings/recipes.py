"""Three ways to train.

``paper``: what the publication describes: S1 beside L1, 50 + 50 epochs, batch 2, images as they are,
no pair of the training split held out.

``official``: what the released code does by default: S1 + S2 + S3, 100 + 100 epochs with its
schedule, random horizontal flips, validation with batch statistics and dropout; no pair held out.

``robust``: the default, for pairs that are not perfectly aligned. What each choice is worth is measured
in ``benchmarks/training_quality.py``; what did not earn its place is not in it (docs/training-evidence.md).
"""

from __future__ import annotations

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {"val_fraction": 0.0},
    "official": {
        "val_fraction": 0.0,
        "scales": 3,
        "epochs": (100, 100),
        "augment": "flip",
        "schedule": "released",
        "statistics": "batch",
    },
    "robust": {
        "confidence": True,
        "conditional": False,
        "dropout": 0.0,
        "ema": 0.999,
        "recalibrate": 64,
    },
}

MODEL_SETTINGS: dict[str, dict[str, Any]] = {"cyclegan": {"crop": 512}}
"""What a model needs in any recipe. CycleGAN at the others' 1,024 px takes some 36 GiB."""
