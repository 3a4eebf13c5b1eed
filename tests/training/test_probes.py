"""What a machine is tried for: works, or one line that says why not."""

from __future__ import annotations

import pytest
import torch

from training.probes import compiling_fails, first_line, gpu_findings, half_precision_fails

CPU = torch.device("cpu")


def test_half_precision_is_tried() -> None:
    assert half_precision_fails(CPU, torch.bfloat16) == ""


def test_a_device_that_is_not_there_fails_in_one_line() -> None:
    nowhere = torch.device("cuda", 99)

    for why in (half_precision_fails(nowhere, torch.float16), compiling_fails(nowhere, "eager")):
        assert why
        assert "\n" not in why


def test_a_compiler_that_works_and_one_that_does_not() -> None:
    assert compiling_fails(CPU, "aot_eager") == ""
    why = compiling_fails(CPU, broken)  # type: ignore[arg-type]
    assert "Python.h: No such file" in why
    assert "\n" not in why


def broken(graph: object, inputs: object) -> object:
    """A backend that fails as one without Python's headers does."""
    raise RuntimeError("fatal error: Python.h: No such file or directory\ncompilation terminated.")


def test_random_numbers_of_a_run_are_not_touched_by_the_finding_of_nothing() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU to find something on")
    assert gpu_findings() == {}


def test_the_first_line_says_most() -> None:
    assert first_line(RuntimeError("\n  no engine \nstack")) == "RuntimeError: no engine"
    assert first_line(OSError()) == "OSError: no message"
