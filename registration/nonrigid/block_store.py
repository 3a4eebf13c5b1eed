"""Finished blocks on disk, from where a run that was killed takes them up again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from registration.bspline import BSpline
from registration.files.storage import write_npz
from registration.nonrigid.block import BlockResult, BlockTask, register_block
from registration.result import BlockRecord


def register_into(task_and_path: tuple[BlockTask, Path]) -> None:
    """Register one block and keep its result on disk."""
    task, path = task_and_path
    result = register_block(task)
    arrays: dict[str, np.ndarray] = {
        "record": np.array(json.dumps(asdict(result.record))),
        "parameters": np.array(json.dumps(result.parameters)),
    }
    if result.spline is not None:
        arrays["frame"] = np.array([*result.spline.origin, *result.spline.spacing])
        arrays["coefficients"] = result.spline.coefficients
    write_npz(path, **arrays)


def read_result(task: BlockTask, path: Path) -> BlockResult:
    """Return the result of a block that :func:`register_into` kept at ``path``."""
    with np.load(path, allow_pickle=False) as stored:
        record = BlockRecord(**json.loads(str(stored["record"])))
        parameters: Mapping[str, list[str]] = json.loads(str(stored["parameters"]))
        spline = None
        if "frame" in stored:
            x, y, spacing_x, spacing_y = stored["frame"].tolist()
            spline = BSpline((x, y), (spacing_x, spacing_y), stored["coefficients"])
    return BlockResult(
        task.block, record, spline, {key: tuple(values) for key, values in parameters.items()}
    )
