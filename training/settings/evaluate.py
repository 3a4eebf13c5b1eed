"""What a user can choose when a model is scored."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from registration.settings import Settings, setting
from training.settings.config import Device, InferencePrecision

Protocol = Literal["official", "full"]


class EvaluateSettings(Settings):
    """Which pairs are scored, by what, and where."""

    protocol: Protocol = setting(
        "full", "Official: PSNR and SSIM alone, as published; full: all metrics."
    )
    as_released: bool = setting(
        False,
        "With the official protocol: runs the model as the released test script does (320 px wide, "
        "middle 256 px, batch statistics, dropout, values cut off).",
    )
    split: str = setting("test", "Split to score.", min_length=1)
    stain: str = setting(
        "",
        "Stain to score, of a dataset or a model of several.",
        unset="that of the model, or each of them in a folder of its own",
    )
    images: int | None = setting(
        None, "Scores only so many pairs, evenly spread.", unset="all of the split", ge=1
    )
    shift_px: int = setting(8, "Reach of the shift-tolerant scores.", unit="px", ge=0, le=64)
    mpp: float | None = setting(
        None,
        "Pixel size where table or slide do not say.",
        unit="µm/px",
        unset="0.46, BCI's, for patches",
        gt=0,
        le=10,
    )
    lpips: Path | None = setting(
        None, "File of torchvision's AlexNet or VGG-16 weights, for LPIPS.", unset="no LPIPS"
    )
    features: Path | None = setting(
        None, "Inception as TorchScript, or its weights, for FID and KID.", unset="no FID, no KID"
    )
    save_images: bool = setting(False, "Keeps the generated images, in OUT/generated.")
    device: Device = setting("auto", "Where to compute; auto takes a GPU where there is one.")
    precision: InferencePrecision = setting(
        "auto", "Auto: half precision on a GPU, within a grey level; 32: exact."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.as_released and self.protocol != "official":
            raise ValueError("--as-released goes with --protocol official")
        return self
