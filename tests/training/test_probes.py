"""What a machine is tried for: works, or one line that says why not."""

from __future__ import annotations

import pytest
import torch

from training import probes
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


@pytest.mark.parametrize(("hardware_bf16", "bf16"), [(True, ""), (False, "only emulates it")])
def test_all_that_a_run_tries_on_a_gpu_is_tried(
    monkeypatch: pytest.MonkeyPatch, hardware_bf16: bool, bf16: str
) -> None:
    tried: list[object] = []

    def half(device: torch.device, kind: torch.dtype) -> str:
        tried.append((device.type, kind))
        return ""

    def compiling(device: torch.device) -> str:
        tried.append((device.type, "compiled"))
        return "no Triton"

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation: including_emulation or hardware_bf16,
    )
    monkeypatch.setattr(probes, "half_precision_fails", half)
    monkeypatch.setattr(probes, "compiling_fails", compiling)

    found = gpu_findings()

    kinds = (torch.bfloat16, torch.float16, "compiled")
    assert tried == [("cuda", kind) for kind in kinds]
    assert bf16 in found["bf16"]
    assert bool(found["bf16"]) == bool(bf16)
    assert (found["fp16"], found["compiled networks"]) == ("", "no Triton")


def test_the_first_line_says_most() -> None:
    assert first_line(RuntimeError("\n  no engine \nstack")) == "RuntimeError: no engine"
    assert first_line(OSError()) == "OSError: no message"
