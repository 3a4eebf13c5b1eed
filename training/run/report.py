"""``train.html``: how training went, in one file that needs no network."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from registration.files.pictures import jpeg_uri
from registration.files.storage import write_text
from registration.files.text import json_record
from registration.files.words import counted
from registration.pages.page import render, verdict_of
from registration.pages.plots import Curve, curve_plot
from training.run.history import HISTORY, VALIDATION, CsvLog, read_numbers
from training.run.validation import quality

REPORT = "train.html"
CONFIG, ABOUT, SAMPLES = "config.json", "run.json", "samples"
SCORES = {"PSNR, dB": ["psnr"], "SSIM": ["ssim"], "DAB error, OD": ["dab_error"]}
SHEETS_AT_MOST = 10
JPEG_QUALITY = 88
WAITING_TOO_MUCH = 0.05
BEATEN_BELOW = 0.05
"""Mean of the discriminator's two losses below which it tells every image."""
OVERFITTED_DB = 0.5


@dataclass(frozen=True)
class Plot:
    """One plot with its title."""

    title: str
    svg: Markup


@dataclass(frozen=True)
class Sheet:
    """One sample sheet, as a data URI."""

    epoch: int
    uri: str


def write_report(run: Path) -> None:
    """Write the report of the run in ``run``, from the files that are there so far."""
    config = json_record(run / CONFIG)
    about = json_record(run / ABOUT)
    history = read_numbers(CsvLog(run / HISTORY).rows())
    validation = read_numbers(CsvLog(run / VALIDATION).rows())
    html = render(
        "training",
        "train.html",
        config=config,
        about=about,
        verdict=verdict_of(
            headlines(config, about, history, validation), "look at this", "as it should"
        ),
        scores=_plots(
            validation,
            "epoch",
            SCORES,
        ),
        losses=_plots(history, "step", _plot_groups(history)),
        sheets=_sheets(run / SAMPLES),
    )
    write_text(run / REPORT, html)


def headlines(
    config: Mapping[str, Any],
    about: Mapping[str, Any],
    history: Mapping[str, Sequence[float]],
    validation: Mapping[str, Sequence[float]],
) -> list[tuple[bool, str]]:
    """Return what a reader should know first; ``True`` marks a warning."""
    total = sum(config["epochs"])
    lines = []
    if validation:
        rows = [
            dict(zip(validation, row, strict=True))
            for row in zip(*validation.values(), strict=True)
        ]
        best, last = max(rows, key=quality), rows[-1]
        lines.append(
            (
                False,
                f"{last['epoch']:.0f} of {counted(total, 'epoch')}. Best validation after epoch "
                f"{best['epoch']:.0f}: PSNR {best['psnr']:.2f} dB, SSIM {best['ssim']:.3f}, DAB error "
                f"{best['dab_error']:.3f} OD; that generator is best.pt.",
            )
        )
        if (worse := quality(best) - quality(last)) > OVERFITTED_DB:
            lines.append(
                (
                    True,
                    f"The last generator is {worse:.1f} dB worse in PSNR and DAB error together.",
                )
            )
    if history:
        lines += _about_steps(history)
    lines += [(note.startswith("warning"), note) for note in about["notes"]]
    return lines


def _about_steps(history: Mapping[str, Sequence[float]]) -> list[tuple[bool, str]]:
    """Return lines on speed, waiting and the balance of the game."""
    waiting = sum(history["waiting"]) / len(history["waiting"])
    speed = history["images_per_s"][-1]
    lines = [
        (
            waiting > WAITING_TOO_MUCH,
            f"{speed:.3g} images per second, {100 * waiting:.1f} % of the time spent waiting for images.",
        )
    ]
    if "D_real" in history:
        recent = [
            (real + fake) / 2
            for real, fake in list(zip(history["D_real"], history["D_fake"], strict=True))[-5:]
        ]
        if max(recent) < BEATEN_BELOW:
            lines.append(
                (
                    True,
                    "The discriminator tells real from generated images without fail, so that the "
                    "generator learns little from it.",
                )
            )
    return lines


def _plot_groups(history: Mapping[str, Sequence[float]]) -> dict[str, list[str]]:
    """Return the columns that share a plot."""
    names = [name for name in history if re.match(r"[GD]_", name)]
    adversarial = [name for name in names if name.startswith(("G_GAN", "D_"))]
    return {
        "image losses": [name for name in names if name not in adversarial],
        "adversarial losses": adversarial,
        "images per second": ["images_per_s"],
        "learning rate": ["lr"],
    }


def _plots(
    columns: Mapping[str, Sequence[float]], over: str, groups: Mapping[str, list[str]]
) -> list[Plot]:
    """Draw the groups that have anything to show."""
    plots = []
    for title, names in groups.items():
        curves = [
            Curve(name, columns[over], columns[name], series)
            for series, name in enumerate(name for name in names if name in columns)
        ]
        if (svg := curve_plot(f"{title} over {over}", curves, (over, ""))) is not None:
            plots.append(Plot(title, svg))
    return plots


def _sheets(folder: Path) -> list[Sheet]:
    """Return the newest sheet and others spread over the run, oldest first, as JPEG."""
    paths = sorted(folder.glob("epoch_*.png"))
    stride = max(1, math.ceil(len(paths) / SHEETS_AT_MOST))
    chosen = paths[::-1][::stride][::-1]
    return [Sheet(int(path.stem.split("_")[1]), _as_uri(path)) for path in chosen]


def _as_uri(path: Path) -> str:
    """Return an image as a data URI."""
    with Image.open(path) as image:
        return jpeg_uri(np.asarray(image), JPEG_QUALITY)
