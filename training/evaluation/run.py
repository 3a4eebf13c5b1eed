"""From a model or a folder of images, and a dataset, to the files of an evaluation."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from registration.files.alone import one_at_a_time
from registration.files.outputs import check_folder
from registration.files.versions import version_of
from training.data.images import Pixels, write_png
from training.data.pairs import PairDataset, PatchPair, spread_evenly
from training.devices import device_named
from training.errors import DataError
from training.evaluation.cases import draw_cases
from training.evaluation.controls import control_candidates
from training.evaluation.report import About, write_evaluation
from training.evaluation.scoring import ASSUMED_MPP, Candidate, Evaluation, Scoring, evaluate
from training.evaluation.sources import folder_candidate, model_candidate, released_view
from training.inference.checkpoints import load_generator
from training.memory import OTHER_PROGRAMS, explained
from training.metrics.features import load_features, load_lpips
from training.metrics.pathology import FindNuclei
from training.settings.evaluate import EvaluateSettings

PACKAGES = ("bci-pipeline", "torch", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What to evaluate: exactly one of ``model`` and ``generated``, and how."""

    dataset: PairDataset
    out: Path
    model: Path | None = None
    generated: Path | None = None
    settings: EvaluateSettings = EvaluateSettings()
    nuclei: FindNuclei | None = None
    """Finds nuclei; without it none are compared."""


@one_at_a_time(lambda request, *_: request.out)
def run_evaluation(
    request: EvaluationRequest, on_image: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Evaluation, About]:
    """Evaluate, and write ``evaluation.json``, ``.csv`` and ``.html`` into the output folder.

    ``on_image`` is told how many of how many images are done. Raises
    :class:`training.errors.TrainingError` for whatever cannot be read, matched or compared.
    """
    pairs, scoring, model = _prepared(request)
    dataset = request.dataset
    train = dataset.select("train") if dataset.has_splits else ()
    controls = control_candidates(train, pairs, scoring.view)
    with explained(lambda: OTHER_PROGRAMS):
        evaluation = evaluate(
            pairs, (model, *controls), scoring, lambda done: on_image(done, len(pairs))
        )
    about = _about(request, model, pairs)
    write_evaluation(request.out, evaluation, about, draw_cases(evaluation, scoring))
    return evaluation, about


def plan_evaluation(request: EvaluationRequest) -> dict[str, object]:
    """Return what :func:`run_evaluation` would score; raises what it would refuse before it begins."""
    pairs, scoring, model = _prepared(request)
    about = _about(request, model, pairs)
    return {
        "model": about.model,
        "dataset": about.dataset,
        "split": about.split,
        "images": len(pairs),
        "protocol": about.protocol,
        "shift search": f"{scoring.shift_px} px" if scoring.protocol == "full" else "none",
        "device": about.settings["device"],
        "notes": "; ".join(about.notes),
        "out": str(request.out),
    }


def _prepared(request: EvaluationRequest) -> tuple[tuple[PatchPair, ...], Scoring, Candidate]:
    """Return the pairs to score, how, and the model."""
    given = request.generated
    check_folder(
        request.out,
        [*request.dataset.folders, *([given] if given else [])],
        [request.model] if request.model else [],
    )
    pairs = _chosen_pairs(request)
    scoring = Scoring(
        protocol=request.settings.protocol,
        shift_px=request.settings.shift_px,
        device=_device(request),
        lpips=load_lpips(request.settings.lpips, _device(request))
        if request.settings.lpips
        else None,
        features=load_features(request.settings.features, _device(request))
        if request.settings.features
        else None,
        nuclei=request.nuclei,
        mpp=request.settings.mpp or ASSUMED_MPP,
        view=released_view if request.settings.as_released else lambda pixels: pixels,
    )
    return pairs, scoring, _model(request, pairs)


def pairs_of_split(dataset: PairDataset, split: str) -> tuple[PatchPair, ...]:
    """Return the pairs of a split; all of them where the dataset has no splits.

    Raises :class:`DataError` for a split that the dataset does not have.
    """
    pairs = dataset.select(split)
    if not pairs:
        splits = sorted({pair.split or "none" for pair in dataset.pairs})
        raise DataError(
            f"{dataset.source} has no pairs in split {split!r}; its splits are "
            f"{', '.join(splits)}. Choose one with --split."
        )
    return pairs


def _chosen_pairs(request: EvaluationRequest) -> tuple[PatchPair, ...]:
    """Return the pairs of the split, thinned evenly to ``request.settings.images`` of them."""
    pairs = pairs_of_split(request.dataset, request.settings.split)
    return spread_evenly(pairs, request.settings.images)


def _model(request: EvaluationRequest, pairs: tuple[PatchPair, ...]) -> Candidate:
    """Return the candidate to score; it saves its images where that was asked for."""
    if request.generated is not None:
        return folder_candidate(request.generated, pairs)
    if request.model is None:
        raise DataError("give a model, or a folder of generated images")
    candidate = model_candidate(
        load_generator(
            request.model, _device(request), request.settings.precision, request.settings.stain
        ),
        as_released=request.settings.as_released,
    )
    return (
        _saving(candidate, request.out / "generated") if request.settings.save_images else candidate
    )


def _saving(candidate: Candidate, folder: Path) -> Candidate:
    """Return a candidate that also writes each image it makes."""

    def make(pair: PatchPair, he: Pixels, real: Pixels) -> Pixels:
        fake = candidate.make(pair, he, real)
        write_png(folder / f"{pair.name}.png", fake)
        return fake

    return replace(candidate, make=make)


def _about(request: EvaluationRequest, model: Candidate, pairs: tuple[PatchPair, ...]) -> About:
    """Return what the report says about itself."""
    whole = len(request.dataset.select(request.settings.split))
    notes = list(request.dataset.notes)
    if len(pairs) < whole:
        notes.append(f"{len(pairs):,} of the {whole:,} pairs of the split, evenly spread")
    if request.settings.as_released:
        notes.append(
            "run as the released test script does: images scaled to 320 px and cut to the middle "
            "256 x 256, batch normalisation on each image's own statistics, dropout active, 8-bit "
            "values cut off; such figures are comparable with nothing else"
        )
    return About(
        model=model.note,
        dataset=request.dataset.title,
        split=f"{request.settings.split} split" if request.dataset.has_splits else "no splits",
        protocol=request.settings.protocol,
        notes=tuple(notes),
        settings={
            "model": (request.model or request.generated or Path()).name,
            "dataset layout": request.dataset.layout,
            "shift_px": request.settings.shift_px
            if request.settings.protocol == "full"
            else "not measured",
            "as_released": request.settings.as_released,
            "µm per pixel, where the table does not say": request.settings.mpp or ASSUMED_MPP,
            "lpips": str(request.settings.lpips or "not measured"),
            "fid_kid": str(request.settings.features or "not measured"),
            "device": device_name(_device(request)),
            "precision": request.settings.precision,
            "python": platform.python_version(),
            **{name: version_of(name) for name in PACKAGES},
        },
    )


def _device(request: EvaluationRequest) -> str:
    return device_named(request.settings.device)


def device_name(device: str) -> str:
    """Return the device in words."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
