"""What this machine can do, found out by doing it: a compiled step, and half precision.

Capabilities that libraries report are not what counts: a GPU without bf16 emulates it, a compiler
without headers is found and fails. A run tries what it is about to use; ``bci-pipeline doctor`` tries all.
"""

from __future__ import annotations

import subprocess

import torch
import torch.nn.functional as F
from torch import nn

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
SIDE_PX = 16
CHANNELS = 8
FAILURES = (RuntimeError, AssertionError, ImportError, OSError, subprocess.SubprocessError)
"""What compilers, drivers and their absence raise."""


def half_precision_fails(device: torch.device, half: torch.dtype) -> str:
    """Return why a step of a small convolution in half precision fails; empty where it works."""
    try:
        network, image = _small(device)
        with torch.autocast(device.type, dtype=half):
            loss = network(image).float().square().mean()
        loss.backward()
    except FAILURES as error:
        return first_line(error)
    if not torch.isfinite(loss):
        return f"a small convolution gives {loss.item()}"
    return ""


def compiling_fails(device: torch.device, backend: str = "inductor") -> str:
    """Return why a step of a small compiled network fails; empty where it works.

    Needs Triton, a C compiler and Python's headers.
    """
    try:
        network, image = _small(device)
        compiled = torch.compile(network, dynamic=False, backend=backend)
        with torch.enable_grad():
            compiled(image).float().square().mean().backward()
    except FAILURES as error:
        return first_line(error)
    finally:
        torch.compiler.reset()
    return ""


def first_line(error: BaseException) -> str:
    """Return the line of an error that says most: a compiler's complaint, or the first sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "fatal error" in line]
    telling += [line for line in lines if not line.endswith(":")]
    return f"{type(error).__name__}: {telling[0] if telling else 'no message'}"


def _small(device: torch.device) -> tuple[nn.Module, torch.Tensor]:
    """Return a small network of the kinds of layers that all networks have, and an image."""
    network = nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3, padding=1), nn.BatchNorm2d(CHANNELS), nn.ReLU()
    )
    image = torch.linspace(-1, 1, 2 * 3 * SIDE_PX**2).reshape(2, 3, SIDE_PX, SIDE_PX)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, F.hardtanh(image.to(device))


def gpu_findings() -> dict[str, str]:
    """Return what was tried on the first GPU and why it fails, empty where it works; no GPU, nothing."""
    if not torch.cuda.is_available():
        return {}
    device = torch.device("cuda")
    found = {name: half_precision_fails(device, half) for name, half in HALVES.items()}
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        found["bf16"] = "this GPU only emulates it; training takes fp16"
    return {**found, "compiled networks": compiling_fails(device)}
