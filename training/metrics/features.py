"""LPIPS, FID and KID: metrics that need the weights of another network, given by path.

Nothing is downloaded. LPIPS takes torchvision's ImageNet weights of AlexNet or VGG-16; FID and KID
take any TorchScript file that maps uint8 ``(N, 3, H, W)`` to features, such as the Inception of
the StyleGAN authors, or torch-fidelity's Inception weights where that package is installed.
"""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import CheckpointError
from training.metrics.published import check_images

_ALEXNET = ((11, 64, 4, 2), "pool", (5, 192, 1, 2), "pool", (3, 384), (3, 256), (3, 256))
_VGG16 = (
    *((3, 64), (3, 64), "pool", (3, 128), (3, 128), "pool", (3, 256), (3, 256), (3, 256)),
    *("pool", (3, 512), (3, 512), (3, 512), "pool", (3, 512), (3, 512), (3, 512)),
)
_TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
"""Layers whose output LPIPS compares: the last ReLU before each change of width or size."""

_FOREIGN_FILE = (RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError)
"""What torch raises for a file that is not its own."""


class Lpips(nn.Module):
    """Learned perceptual image patch similarity, version 0.1 (Zhang et al., CVPR 2018).

    The weights of the layers are those that torchmetrics ships; the network's are given.
    """

    def __init__(self, kind: str, network: nn.Sequential, layer_weights: list[Tensor]) -> None:
        super().__init__()
        self.taps = _TAPS[kind]
        self.network = network
        for number, weight in enumerate(layer_weights):
            self.register_buffer(f"layer_{number}", weight)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    @torch.inference_mode()
    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the distance of each pair of uint8 ``(N, 3, H, W)``, float64 ``(N,)``."""
        check_images(real, fake)
        x, y = (self._prepared(images) for images in (real, fake))
        distance = torch.zeros(len(real), dtype=torch.float64, device=real.device)
        number = 0
        for index, layer in enumerate(self.network):
            x, y = layer(x), layer(y)
            if index in self.taps:
                weight = self.get_buffer(f"layer_{number}")
                squared = (_unit_length(x) - _unit_length(y)) ** 2
                distance += (squared * weight).sum(dim=1).mean(dim=(1, 2))
                number += 1
        return distance

    def _prepared(self, images: Tensor) -> Tensor:
        """Scale to [-1, 1], then to the range that the networks were trained on."""
        scaled = images.float() / 127.5 - 1
        return (scaled - self.get_buffer("shift")) / self.get_buffer("scale")


def load_lpips(path: Path, device: torch.device | str = "cpu") -> Lpips:
    """Return LPIPS on the AlexNet or VGG-16 whose torchvision ``state_dict`` lies at ``path``.

    Raises :class:`CheckpointError` for a missing file and for weights of another network.
    """
    state = _load_state(path, "LPIPS")
    for kind, layers in (("alex", _ALEXNET), ("vgg", _VGG16)):
        network = _convolutions(layers)
        wanted = network.state_dict()
        given = {key.removeprefix("features."): value for key, value in state.items()}
        found = {key: given[key] for key in wanted if key in given}
        if all(key in found and found[key].shape == wanted[key].shape for key in wanted):
            network.load_state_dict(found)
            return Lpips(kind, network, _layer_weights(kind)).to(device)
    raise CheckpointError(
        f"{path} holds neither torchvision's AlexNet nor its VGG-16. Give the file that torchvision "
        "publishes as alexnet-owt-*.pth or vgg16-*.pth."
    )


Features = Callable[[Tensor], Tensor]
"""Maps uint8 images ``(N, 3, H, W)`` to float64 features ``(N, D)``."""


def load_features(path: Path, device: torch.device | str = "cpu") -> Features:
    """Return the feature network for FID and KID that lies at ``path``.

    Raises :class:`CheckpointError` where the file is missing or is neither TorchScript nor
    torch-fidelity's Inception weights (which also need that package).
    """
    _require_file(path, "FID and KID")
    module = _load_script(path, device) or _load_fidelity(path).to(device)
    options = {"return_features": True} if _takes_return_features(module) else {}

    @torch.inference_mode()
    def features(images: Tensor) -> Tensor:
        found = module(images, **options)
        found = found[0] if isinstance(found, tuple) else found
        return torch.as_tensor(found).flatten(1).double()

    return features


def fid(real: Tensor, fake: Tensor) -> float:
    """Return the Fréchet distance of two sets of features, float64 ``(N, D)`` each.

    Heusel et al., NeurIPS 2017. NaN for fewer than two images. The trace of the root of the
    product of two covariances is the sum of the singular values of ``X Y^T``, X and Y being the
    centred features: far cheaper than a 2048 x 2048 matrix root, and never complex.
    """
    if min(len(real), len(fake)) < 2:
        return float("nan")
    x, y = (_centred_root(features) for features in (real, fake))
    spread = (x * x).sum() + (y * y).sum() - 2 * torch.linalg.svdvals(x @ y.T).sum()
    return max(0.0, float(((real.mean(dim=0) - fake.mean(dim=0)) ** 2).sum() + spread))


def kid(real: Tensor, fake: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the kernel distance of two sets of features ``(N, D)``: the unbiased estimate.

    Bińkowski et al., ICLR 2018: squared maximum mean discrepancy with ``(a b / D + 1)^3``, over all
    images rather than random subsets. ``weights`` ``(R, N)`` counts how often each of R bootstrap
    samples drew each image (image i of both sets together); the result is float64 ``(R,)``, or
    ``(1,)`` without weights. NaN for fewer than two images.
    """
    dimension = real.shape[1]
    if weights is None:
        weights = torch.ones(1, len(real), dtype=real.dtype, device=real.device)
    same: Tensor = (weights.sum(dim=1) ** 2 - (weights**2).sum(dim=1)).clamp_min(0)
    distance = torch.zeros(len(weights), dtype=real.dtype, device=real.device)
    for features in (real, fake):
        kernel = ((features @ features.T) / dimension + 1) ** 3
        kernel.fill_diagonal_(0)
        distance += ((weights @ kernel) * weights).sum(dim=1) / same
    kernel = ((real @ fake.T) / dimension + 1) ** 3
    distance -= 2 * ((weights @ kernel) * weights).sum(dim=1) / weights.sum(dim=1) ** 2
    return distance


def _centred_root(features: Tensor) -> Tensor:
    """Return X with ``X^T X`` the sample covariance, with at most D rows."""
    centred: Tensor = (features - features.mean(dim=0)) / math.sqrt(len(features) - 1)
    if len(centred) > centred.shape[1]:
        centred = torch.linalg.qr(centred, mode="r").R
    return centred


def _unit_length(features: Tensor) -> Tensor:
    """Scale the vector of channels at each position to length one."""
    return features / features.square().sum(dim=1, keepdim=True).add_(1e-8).sqrt_()


def _convolutions(layers: tuple[Any, ...]) -> nn.Sequential:
    """Return the convolutional part of AlexNet or VGG-16, layers numbered as in torchvision."""
    pool = 3 if layers is _ALEXNET else 2
    modules: list[nn.Module] = []
    channels = 3
    for layer in layers:
        if layer == "pool":
            modules.append(nn.MaxPool2d(kernel_size=pool, stride=2))
            continue
        size, width, stride, padding = (*layer, 1, 1)[:4]
        modules += [nn.Conv2d(channels, width, size, stride, padding), nn.ReLU()]
        channels = width
    return nn.Sequential(*modules)


def _layer_weights(kind: str) -> list[Tensor]:
    """Return the ``(1, C, 1, 1)`` weights of the five layers, as torchmetrics ships them."""
    package = find_spec("torchmetrics")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "functional" / "image" / "lpips_models" / f"{kind}.pth"
    stored = torch.load(file, map_location="cpu", weights_only=True)
    return [stored[f"lin{number}.model.1.weight"] for number in range(len(_TAPS[kind]))]


def _load_state(path: Path, metric: str) -> dict[str, Tensor]:
    """Read a ``state_dict`` or say why it is none."""
    _require_file(path, metric)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _FOREIGN_FILE as error:
        raise CheckpointError(f"{path} holds no weights that {metric} can use: {error}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a state_dict")
    return state


def _load_script(path: Path, device: torch.device | str) -> nn.Module | None:
    """Return the TorchScript module at ``path``, None where the file is something else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is old, its files stay
        try:
            return torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call, no-any-return]
        except RuntimeError:
            return None


def _load_fidelity(path: Path) -> nn.Module:
    """Return torch-fidelity's Inception with the weights at ``path``."""
    _load_state(path, "FID and KID")
    try:
        extractors = import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f"{path} is not a TorchScript file. Give one that maps uint8 images to features (for "
            "example inception-2015-12-05.pt of the StyleGAN authors), or install torch-fidelity "
            "(`pip install torch-fidelity`) to use its weights."
        ) from error
    try:
        module: nn.Module = extractors.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
        )
    except (RuntimeError, KeyError) as error:
        raise CheckpointError(f"{path} does not fit torch-fidelity's Inception: {error}") from error
    return module.eval()


def _takes_return_features(module: nn.Module) -> bool:
    """Return whether a script returns classes unless asked for features, as StyleGAN's does."""
    return "return_features" in str(getattr(module.forward, "schema", ""))


def _require_file(path: Path, metric: str) -> None:
    """Raise :class:`CheckpointError` where there is no file."""
    if not path.is_file():
        raise CheckpointError(f"weights for {metric} not found: {path}")
