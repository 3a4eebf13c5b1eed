"""LPIPS, FID and KID: against torchmetrics, against definitions, and the messages for wrong files."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import nn
from torchmetrics.image.kid import poly_mmd

from training.errors import CheckpointError
from training.metrics.features import fid, kid, load_features, load_lpips

ALEXNET_SHAPES = {
    0: (64, 3, 11, 11),
    3: (192, 64, 5, 5),
    6: (384, 192, 3, 3),
    8: (256, 384, 3, 3),
    10: (256, 256, 3, 3),
}


def images(seed: int, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 72, 96), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the names that torchvision publishes AlexNet's with."""
    generator = torch.Generator().manual_seed(0)
    state = {"classifier.1.weight": torch.zeros(4, 9)}
    for number, shape in ALEXNET_SHAPES.items():
        fan_in = float(np.prod(shape[1:]))
        state[f"features.{number}.weight"] = torch.randn(shape, generator=generator) / fan_in**0.5
        state[f"features.{number}.bias"] = torch.randn(shape[0], generator=generator) / 10
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(state, path)
    return path


def literal_lpips(state: dict[str, torch.Tensor], a: torch.Tensor, b: torch.Tensor) -> float:
    """LPIPS written out: AlexNet's five ReLU outputs, unit length, weighted squares, means."""
    import torchmetrics

    folder = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models"
    heads = torch.load(folder / "alex.pth", map_location="cpu", weights_only=True)
    total = 0.0
    x, y = (
        (v.float() / 127.5 - 1 - torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        / torch.tensor([0.458, 0.448, 0.450])[:, None, None]
        for v in (a, b)
    )
    steps = (
        (0, 4, 2, False),
        (3, 1, 2, True),
        (6, 1, 1, True),
        (8, 1, 1, False),
        (10, 1, 1, False),
    )
    for head, (number, stride, padding, pooled) in enumerate(steps):
        outputs = []
        for v in (x, y):
            v = nn.functional.max_pool2d(v, 3, 2) if pooled else v
            weight, bias = state[f"features.{number}.weight"], state[f"features.{number}.bias"]
            outputs.append(torch.relu(nn.functional.conv2d(v, weight, bias, stride, padding)))
        x, y = outputs
        difference = [
            v / (torch.linalg.vector_norm(v, dim=0, keepdim=True) + 1e-10) for v in (x, y)
        ]
        squared = (difference[0] - difference[1]) ** 2
        total += float((heads[f"lin{head}.model.1.weight"][0] * squared).sum(dim=0).mean())
    return total


def test_lpips_equals_its_definition_written_out(alexnet: Path) -> None:
    measure = load_lpips(alexnet)
    a, b = images(1), images(2)

    found = measure(a, b)

    state = torch.load(alexnet, weights_only=True)
    expected = [literal_lpips(state, x, y) for x, y in zip(a, b, strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-4)
    assert measure(a, a).tolist() == [0, 0]


def test_fid_equals_the_matrix_root_of_its_definition() -> None:
    generator = torch.Generator().manual_seed(3)
    for count in (12, 90):
        x = torch.randn(count, 20, dtype=torch.float64, generator=generator)
        y = 1.4 * torch.randn(count, 20, dtype=torch.float64, generator=generator) + 0.3

        found = fid(x, y)

        covariances = [np.cov(v.numpy(), rowvar=False) + 1e-12 * np.eye(20) for v in (x, y)]
        root = linalg.sqrtm(covariances[0] @ covariances[1]).real
        apart = float(((x.mean(0) - y.mean(0)) ** 2).sum())
        expected = apart + np.trace(covariances[0] + covariances[1] - 2 * root)
        assert found == pytest.approx(expected, rel=1e-3)


def test_kid_equals_torchmetrics_and_its_resamples_leave_out_an_image_against_itself() -> None:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(30, 16, dtype=torch.float64, generator=generator)
    y = torch.randn(30, 16, dtype=torch.float64, generator=generator) + 0.5
    half = torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(15)

    found, of_half = kid(x, y), kid(x, y, torch.stack([half, 2 * half]))

    assert found.item() == pytest.approx(float(poly_mmd(x, y)))
    assert of_half[0].item() == pytest.approx(float(poly_mmd(x[::2], y[::2])))
    assert of_half[1].item() == pytest.approx(of_half[0].item())


def test_equal_sets_have_no_distance_and_single_images_none_that_is_defined() -> None:
    x = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    assert fid(x, x) == pytest.approx(0, abs=1e-9)
    assert np.isnan(fid(x[:1], x[:1]))
    assert torch.isnan(kid(x[:1], x[:1])).all()


class Detector(nn.Module):
    """Returns classes unless asked for features, as the Inception of the StyleGAN authors does."""

    def forward(self, image: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        scaled = image.float() / 255
        if return_features:
            return torch.cat([scaled.mean(dim=(2, 3)), scaled.std(dim=(2, 3))], dim=1)
        return scaled.mean(dim=(1, 2, 3))


def test_a_torchscript_file_gives_features(tmp_path: Path) -> None:
    path = tmp_path / "inception.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Detector()), str(path))

    found = load_features(path)(images(6, 3))

    expected = images(6, 3).double().flatten(2).mean(dim=2) / 255
    assert found.shape == (3, 6)
    assert found.dtype == torch.float64
    assert torch.allclose(found[:, :3], expected, atol=1e-6)


@pytest.mark.parametrize("load", [load_lpips, load_features])
def test_a_missing_file_is_named(load, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CheckpointError, match=r"not found: .*nowhere\.pth"):
        load(tmp_path / "nowhere.pth")


def test_foreign_files_are_refused_with_what_to_give_instead(tmp_path: Path) -> None:
    text, other = tmp_path / "text.pth", tmp_path / "other.pth"
    text.write_text("no weights")
    torch.save({"model.1.weight": torch.zeros(64, 3, 7, 7)}, other)

    with pytest.raises(CheckpointError, match=r"text\.pth holds no weights"):
        load_lpips(text)
    with pytest.raises(CheckpointError, match=r"alexnet-owt-\*\.pth or vgg16-\*\.pth"):
        load_lpips(other)
    with pytest.raises(CheckpointError, match=r"TorchScript|does not fit"):
        load_features(other)
