"""Training, scoring and using a virtual stain from Python."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.api.arguments import checked
from pipeline.api.dataset import PatchDataset
from pipeline.api.reporting import ShowProgress, in_notebook, reporting
from pipeline.cli.train_progress import training_progress
from pipeline.dataset.alignment import with_alignment
from pipeline.stages.evaluate import nuclei_of
from pipeline.stages.settings import TranslateSettings
from pipeline.stages.translate import Translated, TranslateRequest, output_path, translate_slide
from registration.slides.formats import ImageFormat
from training.data.images import from_batch, to_batch
from training.data.pairs import open_dataset
from training.devices import device_named
from training.errors import DataError
from training.evaluation.report import as_json
from training.evaluation.run import EvaluationRequest, run_evaluation
from training.evaluation.stains import by_stain
from training.inference import checkpoints
from training.inference.checkpoints import TrainedGenerator
from training.run.history import Forwarder, Listener, ValidationRecord
from training.run.loop import TrainingOutcome
from training.run.loop import train as run_training
from training.settings.evaluate import EvaluateSettings
from training.settings.sources import resolve

DatasetLike = PatchDataset | str | Path
Device = Literal["auto", "cpu", "cuda"]

LOGGER = logging.getLogger("bci_pipeline")


class TrainingReports(Forwarder):
    """Listens to training and passes on how far it is; what else is said goes to the log."""

    def note(self, text: str) -> None:
        """Log it."""
        LOGGER.log(logging.WARNING if text.startswith("warning") else logging.INFO, text)

    def validated(self, record: ValidationRecord) -> None:
        """Log the scores."""
        LOGGER.info("after epoch %s: %s", record.epoch, record.scores)


@dataclass(frozen=True, repr=False)
class Stain:
    """A trained generator: call it with an H&E image to get the IHC image."""

    generator: TrainedGenerator

    def __repr__(self) -> str:
        scale = "µm/px unknown" if self.mpp is None else f"{self.mpp:.4g} µm/px"
        return f"<Stain of {self.generator.source}: {scale}>"

    @property
    def mpp(self) -> float | None:
        """µm per pixel that it was trained at, where known."""
        return self.generator.mpp

    def __call__(self, he_rgb: ArrayLike) -> NDArray[np.uint8]:
        """Return the virtual IHC of a ``(h, w, 3)`` uint8 RGB image, of the same shape.

        Raises :class:`training.errors.DataError` for another array. Whole slides go through
        :func:`translate`.
        """
        try:
            image = np.asarray(he_rgb)
        except ValueError:
            raise DataError("rows of different lengths are no image") from None
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise DataError(
                f"an array of shape {image.shape} and type {image.dtype}: "
                "expected (height, width, 3) and uint8"
            )
        return from_batch(self.generator(to_batch(image)))

    def __str__(self) -> str:
        return self.generator.describe()


@checked
def load_generator(model: str | Path, device: Device = "auto", stain: str = "") -> Stain:
    """Load a generator from a run folder (its best one), a ``.pt`` file or official weights.

    ``stain`` says which one a model of several makes. Raises :class:`training.errors.CheckpointError`.
    """
    return Stain(checkpoints.load_generator(Path(model), device_named(device), stain=stain))


@checked
def train(
    dataset: DatasetLike,
    out: str | Path,
    *,
    epochs: int | str | None = None,
    resume: bool = False,
    cache: str | Path | None = None,
    measure: bool = True,
    progress: ShowProgress = True,
    **settings: Any,
) -> TrainingOutcome:
    """Train a generator of virtual IHC from H&E on the pairs of ``dataset``.

    ``epochs`` is ``"50+50"`` (at the full rate + falling to zero), or their sum, half of which
    falls. ``settings`` are those of ``docs/settings.md``: ``model``, ``recipe``, ``batch``,
    ``crop``, ``stain``, ``device``, ... The alignment of pairs without a table of patches is measured
    first, unless ``measure`` is ``False``. Raises :class:`registration.errors.BciError` with the words of
    the command line; after an interrupt ``resume=True`` goes on.
    """
    given = settings if epochs is None else {**settings, "epochs": epochs}
    folder, saved = Path(out), Path(out) / "config.json"
    config = resolve(given, base=saved if resume and saved.exists() else None)
    pairs = open_dataset(_folder(dataset))
    parent = None if cache is None else Path(cache)
    with _listener(progress) as listener:
        return run_training(
            config,
            pairs,
            folder,
            resume=resume,
            cache_parent=parent,
            listener=listener,
            measure=with_alignment if measure else None,
        )


@dataclass(frozen=True, repr=False)
class Scores:
    """A finished evaluation."""

    folder: Path
    values: dict[str, Any]
    """What ``evaluation.json`` holds."""

    def __repr__(self) -> str:
        return f"<Scores in {self.folder}>"

    @property
    def report(self) -> Path:
        """The page to read."""
        return self.folder / "evaluation.html"


@checked
def evaluate(
    model: str | Path,
    dataset: DatasetLike,
    out: str | Path,
    *,
    device: Device = "auto",
    progress: ShowProgress = True,
    **options: Any,
) -> Scores:
    """Score a model on the test split of a dataset, beside controls.

    ``options`` are those of ``docs/settings.md``: ``split``, ``stain``, ``images``, ``protocol``,
    ``shift_px``, ``mpp``, ``lpips``, ``features``, ``save_images``. Raises
    :class:`registration.errors.BciError` with the words of the command line.
    """
    request = EvaluationRequest(
        dataset=open_dataset(_folder(dataset)),
        out=Path(out),
        model=Path(model),
        settings=EvaluateSettings.of({"device": device, **options}),
        nuclei=nuclei_of,
    )
    first, *more = by_stain(request)
    if more:
        stains = ", ".join(each.settings.stain for each in (first, *more))
        raise DataError(
            f"{request.dataset.source} has several stains: choose one with stain, of {stains}"
        )
    with reporting(progress) as report:
        found = run_evaluation(first, partial(report, "scoring images"))
    return Scores(request.out, as_json(*found))


@checked
def translate(
    model: str | Path,
    slide: str | Path,
    out: str | Path,
    *,
    mpp: float | None = None,
    model_mpp: float | None = None,
    device: Device = "auto",
    format: ImageFormat = "tiff",
    everywhere: bool = False,
    stain: str = "",
    progress: ShowProgress = True,
) -> Translated:
    """Turn a whole H&E slide into virtual IHC, a pyramid at ``out``.

    ``stain`` says which one a model of several makes.
    ``mpp`` and ``model_mpp`` are µm per pixel of the slide and of the training, where the files do
    not say. Raises :class:`registration.errors.BciError` with the words of the command line.
    """
    given = {"mpp": mpp, "model_mpp": model_mpp, "device": device, "format": format}
    settings = TranslateSettings.of({**given, "everywhere": everywhere, "stain": stain})
    target = output_path(Path(out), settings.format)
    request = TranslateRequest(Path(model), Path(slide), target, settings)
    with reporting(progress) as report:
        return translate_slide(request, report)


@contextmanager
def _listener(progress: ShowProgress) -> Iterator[Listener]:
    """Give what training is to report to."""
    if progress is True and not in_notebook():
        with training_progress() as listener:
            yield listener
        return
    with reporting(progress) as report:
        yield TrainingReports(report)


def _folder(dataset: DatasetLike) -> Path:
    return dataset.folder if isinstance(dataset, PatchDataset) else Path(dataset)
