"""The metrics of an evaluation: names, units, directions and what they tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Group = Literal["pixels", "shift", "stain", "shapes", "amounts", "agreement", "set"]
PATHOLOGY: tuple[Group, ...] = ("shapes", "amounts", "agreement")
"""Groups of metrics that tell what a pathologist would see."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What is measured: its name, unit, direction and what it tells, in plain words."""

    key: str
    label: str
    unit: str
    better: Literal["higher", "lower", "zero", "real"]
    digits: int
    meaning: str
    group: Group


METRICS = (
    Metric("psnr", "PSNR", "dB", "higher", 2, "pixel by pixel agreement; rewards blur", "pixels"),
    Metric("ssim", "SSIM", "", "higher", 3, "agreement of local structure; rewards blur", "pixels"),
    Metric("psnr_shift", "PSNR, shift allowed", "dB", "higher", 2, "at the best offset", "shift"),
    Metric("ssim_shift", "SSIM, shift allowed", "", "higher", 3, "at the best offset", "shift"),
    Metric("dab_error", "DAB error", "OD", "lower", 3, "mean difference in brown", "stain"),
    Metric("dab_bias", "DAB bias", "OD", "zero", 3, "too brown (+) or too pale (-)", "stain"),
    Metric("dab_correlation", "DAB correlation", "", "higher", 3, "brown in its place", "stain"),
    Metric(
        "dab_histogram", "DAB histogram", "OD", "lower", 3, "whether amounts are right", "stain"
    ),
    Metric("dab_dice", "DAB Dice", "", "higher", 3, "overlap of the stained areas", "stain"),
    Metric("lpips", "LPIPS", "", "lower", 3, "difference as a network sees it", "pixels"),
    Metric("fid", "FID", "", "lower", 1, "realism of the set; needs many images", "set"),
    Metric("kid", "KID", "", "lower", 4, "the same, without FID's bias for small sets", "set"),
    Metric("dab_iou", "DAB IoU", "", "higher", 3, "stained areas: overlap over union", "shapes"),
    Metric(
        "dab_hausdorff",
        *("DAB Hausdorff", "µm", "lower", 0),
        "the farthest stained pixel from the other image's stain: one speck decides",
        "shapes",
    ),
    Metric(
        "dab_hausdorff95",
        *("DAB Hausdorff, 95 %", "µm", "lower", 1),
        "the same for 95 of 100 stained pixels",
        "shapes",
    ),
    Metric(
        "nuclei_kept",
        *("Nuclei kept", "", "higher", 2),
        "share of the real image's nuclei that the generated one has",
        "shapes",
    ),
    Metric(
        "nuclei_invented",
        *("Nuclei invented", "", "lower", 2),
        "share of the generated image's nuclei that the real one has not",
        "shapes",
    ),
    Metric(
        "nuclei_offset",
        *("Nuclei off by", "µm", "lower", 1),
        "median distance of the nuclei that are kept from their places",
        "shapes",
    ),
    Metric("h_score", "H-score", "", "real", 0, "0 to 300, by area", "amounts"),
    Metric("positive", "Positive area", "%", "real", 1, "at least weakly stained", "amounts"),
    Metric("her2_right", "Level as labelled", "", "higher", 2, "share of images", "amounts"),
    Metric(
        "her2_kappa",
        *("Kappa, images", "", "higher", 2),
        "weighted agreement of the level that the stain gives with the label",
        "agreement",
    ),
    Metric(
        "her2_kappa_patients",
        *("Kappa, patients", "", "higher", 2),
        "the same, all images of a patient taken together",
        "agreement",
    ),
)
OFFICIAL_METRICS = ("psnr", "ssim")
SET_METRICS = ("fid", "kid")
