"""Generators out of files: what they ask for is checked before anything is built."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from registration.files.memory import usable_memory
from registration.files.storage import written_whole
from registration.files.words import excerpt
from training.errors import CheckpointError
from training.models.generators import GeneratorSpec, build_generator

COUNTS = "num_batches_tracked"
_SPEC = TypeAdapter(GeneratorSpec)


def restored(
    spec: GeneratorSpec | Mapping[str, Any], weights: Mapping[str, Tensor], path: Path
) -> tuple[nn.Module, GeneratorSpec]:
    """Return the generator of ``spec`` with ``weights`` in it, and the spec.

    Raises :class:`CheckpointError` where a file asks for what no generator is, where its weights do
    not fit or are no numbers, and where they would not fit into memory.
    """
    try:
        known = _SPEC.validate_python(asdict(spec) if isinstance(spec, GeneratorSpec) else spec)
        with torch.device("meta"):
            expected = build_generator(known).state_dict()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its network"
        raise CheckpointError(
            f"{path} describes no generator that can be built: {where} is {excerpt(first['input'])}"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{path} describes no generator: {error}") from error
    if known.stains and (known.kind, known.norm) != ("resnet", "batch"):
        raise CheckpointError(
            f"{path} describes no generator of several stains: a {known.kind} is told none"
        )
    _check(expected, weights, path)
    network = build_generator(known)
    network.load_state_dict(weights)
    return network, known


def _check(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights of another network, and what is no number."""
    # Files of old PyTorch count no batches; it takes them for none.
    missing = {name for name in expected.keys() - weights.keys() if not name.endswith(COUNTS)}
    more = weights.keys() - expected.keys()
    other = [
        name
        for name in expected.keys() & weights.keys()
        if not _fits(expected[name], weights[name])
    ]
    if missing or more or other:
        named = min((other or missing or more), key=str)
        raise CheckpointError(
            f"{path} holds weights that do not fit its network: {len(missing)} are missing, "
            f"{len(more)} unknown, {len(other)} of another shape, such as {excerpt(named)}"
        )
    need = sum(value.numel() * value.element_size() for value in expected.values())
    if need > usable_memory():
        raise CheckpointError(
            f"{path} asks for {need / 2**30:.1f} GiB of weights, and there are "
            f"{usable_memory() / 2**30:.1f} GiB of memory in all"
        )
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise CheckpointError(f"{path} holds weights that are no numbers: its training diverged")


def _fits(wanted: Tensor, found: object) -> bool:
    """Return whether a weight is an ordinary tensor of the wanted shape and kind of number."""
    return (
        isinstance(found, Tensor)
        and found.layout == torch.strided
        and not found.is_quantized
        and found.shape == wanted.shape
        and found.is_floating_point() == wanted.is_floating_point()
    )


def write_torch(path: Path, value: Any) -> None:
    """Write a value as PyTorch does, whole or not at all, equal for equal values.

    By name PyTorch writes that name into the file, and of a full disk it tells in words of its own.
    """
    content = io.BytesIO()
    torch.save(value, content)
    with written_whole(path) as part:
        part.write_bytes(content.getbuffer())
