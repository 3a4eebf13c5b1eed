"""The last stage of the demo: a tiny network, trained for about a minute, and one slide through it.

It shows the way from a dataset to a virtual stain. It is no model: one patient, few pairs, few steps.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pictures

from pipeline.stages.evaluate import nuclei_of
from pipeline.stages.settings import TranslateSettings
from pipeline.stages.translate import TranslateRequest, translate_slide
from registration.execution import Progress
from registration.files.storage import written_whole
from registration.files.text import read_json
from registration.result import Registration
from registration.slides.slide import open_slide
from training.data.pairs import PairDataset, open_dataset
from training.errors import CheckpointError, DataError
from training.evaluation.run import EvaluationRequest, run_evaluation
from training.run.history import Forwarder
from training.run.loop import train
from training.run.report import REPORT
from training.settings.config import TrainConfig
from training.settings.evaluate import EvaluateSettings
from training.settings.sources import resolve

STEPS = 200
TINY: dict[str, Any] = {
    **{"ngf": 8, "ndf": 8, "crop": 128, "batch": 2, "lr": 1e-3, "ema": 0.95, "recalibrate": 8},
    **{"val_fraction": 0.0, "compile": False, "tensorboard": False, "device": "cpu"},
}
SCORES = EvaluateSettings(images=4, shift_px=0, device="cpu")
SLIDE, PICTURE, EVALUATION = "virtual_ihc.tif", "virtual_ihc.png", "evaluation"
PANEL_PX = 640


def virtual_stain(
    dataset: Path, registration: Registration, out: Path, progress: Progress
) -> tuple[str, ...]:
    """Train on ``dataset``, translate the registered H&E of one case, and score the test patches.

    Returns lines that say what was made, how good it is and where it lies. What an earlier run left
    in ``out`` is gone on with where it was made of the same pairs, and thrown away otherwise. Raises
    :class:`training.errors.DataError` where there are no pairs to train on or to score.
    """
    pairs = open_dataset(dataset)
    count = len(pairs.select("train"))
    if not count or not pairs.select("test"):
        raise DataError("too few pairs of patches for a network; larger slides (--size) have more")
    report, config = Forwarder(progress), _config(count)
    try:
        train(config, pairs, out, resume=True, listener=report)
    except CheckpointError:
        shutil.rmtree(out)
        train(config, pairs, out, listener=report)
    he = registration.folder / str(registration.image)
    request = TranslateRequest(out, he, out / SLIDE, TranslateSettings(device="cpu"))
    made = translate_slide(request, progress).path
    _draw(out / PICTURE, (he, made, Path(registration.ihc.path)))
    name = registration.folder.name
    return (
        f"a tiny network, trained for {config.total_epochs} epochs on the {count} pairs of {name}, a "
        f"demonstration and not a model: {out / REPORT}",
        f"what it makes of {name}, H&E, virtual IHC and real IHC side by side: {out / PICTURE}; "
        f"the virtual IHC as a slide: {made}",
        _scored(pairs, out, progress),
    )


def _config(pairs: int) -> TrainConfig:
    """Return the settings that make about ``STEPS`` steps of so many pairs."""
    epochs = max(2, round(STEPS * TINY["batch"] / max(pairs, 1)))
    return resolve({**TINY, "epochs": epochs, "validate_every": epochs}, environment={})


def _draw(path: Path, slides: Sequence[Path]) -> None:
    """Draw whole slides side by side."""
    panels = []
    for slide in slides:
        with open_slide(slide) as opened:
            panels.append(opened.thumbnail(PANEL_PX)[0])
    with written_whole(path) as part:
        Pictures.fromarray(np.hstack(panels)).save(part, format="PNG")


def _scored(pairs: PairDataset, out: Path, progress: Progress) -> str:
    """Score some patches of the patient that was not trained on; say how the brown compares."""
    folder = out / EVALUATION
    if not (folder / "evaluation.json").exists():
        request = EvaluationRequest(
            dataset=pairs, out=folder, model=out, settings=SCORES, nuclei=nuclei_of
        )
        run_evaluation(request, partial(progress, "scoring"))
    summary = read_json(folder / "evaluation.json", DataError)["summary"]
    model, mean, he = (summary[key]["all"]["dab_error"]["mean"] for key in ("model", "mean", "he"))
    return (
        f"on the patient that it never saw its brown is wrong by {model:.2f} OD per pixel, the mean "
        f"colour of its training images by {mean:.2f}, the H&E itself by {he:.2f}: "
        f"{folder / 'evaluation.html'}"
    )
