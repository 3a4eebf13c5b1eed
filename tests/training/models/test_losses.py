"""Losses against their definitions, and VGG-19 against torchvision's layout."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from training.errors import CheckpointError
from training.models.losses import (
    VGGLoss,
    adversarial_loss,
    feature_matching_loss,
    multiscale_adversarial_loss,
)


def test_vanilla_loss_is_the_cross_entropy() -> None:
    logits = torch.tensor([[0.5, -2.0, 3.0]])

    real = adversarial_loss(logits, real=True, kind="vanilla").item()
    fake = adversarial_loss(logits, real=False, kind="vanilla").item()

    assert real == pytest.approx(sum(math.log1p(math.exp(-v)) for v in (0.5, -2, 3)) / 3, rel=1e-6)
    assert fake == pytest.approx(sum(math.log1p(math.exp(v)) for v in (0.5, -2, 3)) / 3, rel=1e-6)


def test_lsgan_loss_is_the_squared_distance_to_the_label() -> None:
    logits = torch.tensor([[0.5, -2.0]])

    assert adversarial_loss(logits, real=True, kind="lsgan").item() == pytest.approx(4.625)
    assert adversarial_loss(logits, real=False, kind="lsgan").item() == pytest.approx(2.125)


def test_multiscale_loss_sums_the_last_stage_of_each_scale() -> None:
    ignored = torch.full((1, 4, 2, 2), 1e6)
    found = [[ignored, torch.tensor([2.0])], [ignored, torch.tensor([-1.0])]]

    assert multiscale_adversarial_loss(found, real=True).item() == pytest.approx(1 + 4)


def test_feature_matching_leaves_out_logits_and_weighs_scales_evenly() -> None:
    fake = [[torch.full((2, 3), 1.0), torch.full((2, 3), 2.0), torch.tensor([1e6])]] * 2
    real = [[torch.zeros(2, 3), torch.full((2, 3), 5.0), torch.tensor([0.0])]] * 2

    assert feature_matching_loss(fake, real).item() == pytest.approx((1 + 3) * 4 / 2)


def torchvision_layout(path: Path) -> dict[str, torch.Tensor]:
    """Write random weights under the names torchvision uses for VGG-19."""
    torch.manual_seed(3)
    state: dict[str, torch.Tensor] = {}
    index, channels = 0, 3
    for stage, (width, count) in enumerate([(64, 2), (128, 2), (256, 4), (512, 4), (512, 4)]):
        for _ in range(count):
            state[f"features.{index}.weight"] = torch.randn(width, channels, 3, 3) * 0.05
            state[f"features.{index}.bias"] = torch.randn(width) * 0.05
            channels, index = width, index + 2
        index += 1
        assert stage < 5
    state["classifier.0.bias"] = torch.zeros(7)
    torch.save(state, path)
    return state


def test_vgg_loss_weighs_five_layers(tmp_path: Path) -> None:
    weights = tmp_path / "vgg19.pth"
    state = torchvision_layout(weights)
    fake, real = torch.rand(2, 3, 32, 48, requires_grad=True), torch.rand(2, 3, 32, 48)

    loss = VGGLoss(weights)(fake, real)
    loss.backward()

    expected = 0.0
    taps = {0: 1 / 32, 5: 1 / 16, 10: 1 / 8, 19: 1 / 4, 28: 1.0}
    a, b = fake.detach(), real
    for index in range(29):
        if f"features.{index}.weight" in state:
            kernel, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
            a, b = (nn.functional.conv2d(x, kernel, bias, padding=1).relu() for x in (a, b))
            expected += taps.get(index, 0.0) * (a - b).abs().mean().item()
        elif index in {4, 9, 18, 27}:
            a, b = (nn.functional.max_pool2d(x, 2) for x in (a, b))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0


def test_missing_or_foreign_vgg_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"not found: .*nothing\.pth.*vgg19-dcbb9e9d"):
        VGGLoss(tmp_path / "nothing.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not torchvision's VGG-19"):
        VGGLoss(tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(CheckpointError, match="not torchvision's VGG-19"):
        VGGLoss(tmp_path / "text.pth")
