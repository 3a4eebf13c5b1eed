"""A dataset of several stains is scored stain by stain."""

from __future__ import annotations

from dataclasses import replace

from training.data.pairs import of_stain
from training.errors import DataError
from training.evaluation.run import EvaluationRequest
from training.inference.checkpoints import stains_of


def by_stain(request: EvaluationRequest) -> list[EvaluationRequest]:
    """Return a request for each stain that dataset and model have; each of several in its own folder.

    Raises :class:`DataError` where they have none in common, or not the one that was asked for.
    """
    there, wanted = request.dataset.stains, request.settings.stain
    if not there:
        return [request]
    if wanted:
        there = tuple(of_stain(request.dataset, wanted)[1].split(","))
    made = stains_of(request.model) if request.model else ()
    chosen = [stain for stain in there if stain in made or not made]
    if not chosen:
        raise DataError(
            f"{request.dataset.source} has {' and '.join(there)}, and {request.model} makes "
            f"{' and '.join(made)}"
        )
    if len(there) > 1 and request.model and not made:
        raise DataError(
            f"{request.dataset.source} has {' and '.join(there)}, and {request.model} does not say which "
            f"it makes: choose with --stain {there[0]}"
        )
    return [_of(request, stain, stain if made else "", len(chosen) > 1) for stain in chosen]


def _of(request: EvaluationRequest, stain: str, asked: str, several: bool) -> EvaluationRequest:
    """Return the request for one stain, which the model is told where it makes several."""
    return replace(
        request,
        dataset=of_stain(request.dataset, stain)[0],
        out=request.out / stain if several else request.out,
        settings=request.settings.model_copy(update={"stain": asked}),
    )
