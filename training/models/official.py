"""Checkpoints of the original code: plain state dicts such as ``latest_net_G.pth``.

They hold no word about the network they belong to; it is recognised from names and shapes of the
tensors. Ours are exported in the same form (``save_official``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from training.errors import CheckpointError
from training.models.generators import GeneratorSpec
from training.models.stored import restored, write_torch

State = dict[str, Tensor]

BLOCK = re.compile(r"^model\.(\d+)\.conv_block\.(\d+)\.weight$")
OTHER_LAYOUTS = (
    (("model.model.0.weight", "gating"), "the released attention U-Net (attention_unet_32)"),
    (("Att5.", "Up5."), "an attention U-Net of a third party"),
    (("scale0_layer0.",), "a discriminator of pix2pixHD"),
    (("model.0.weight", "model.11.weight"), "a PatchGAN discriminator"),
    (("features.0.weight",), "a VGG network"),
)
"""Substrings of names that must all be present, and what they give away."""
NORMALISED_BIASES = ("model.1.bias", "model1_1.1.bias", "model.model.1.model.1.bias")
"""Biases of convolutions that a normalisation follows."""
NAMED_AT_MOST = 4


def load_official(state: Mapping[str, Tensor], path: Path) -> tuple[nn.Module, GeneratorSpec]:
    """Return the generator whose weights ``state`` holds, and what it is made of.

    Raises :class:`CheckpointError` for weights of another network, naming it where it is known.
    """
    plain = _without_wrapper(state)
    try:
        spec = recognise(plain, path)
    except (LookupError, ValueError) as error:
        raise CheckpointError(
            f"{path} holds an unknown network: its tensors are of odd shapes"
        ) from error
    if spec.norm == "instance":
        plain = {k: v for k, v in plain.items() if "running_" not in k and "num_batches" not in k}
    return restored(spec, plain, path)


def save_official(network: nn.Module, path: Path) -> None:
    """Write a generator's weights as the original code does, whole or not at all."""
    state = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    write_torch(path, state)


def recognise(state: Mapping[str, Tensor], path: Path) -> GeneratorSpec:
    """Return the generator that a state dict belongs to; raises :class:`CheckpointError`."""
    for marks, name in OTHER_LAYOUTS:
        if all(any(mark in key for key in state) for mark in marks):
            raise CheckpointError(f"{path} holds {name}, not a generator that can be built here")
    if "model1_1.1.weight" in state:
        return _enhancer(state)
    if "model.model.0.weight" in state:
        return _unet(state)
    if "model.1.weight" in state and any(BLOCK.match(key) for key in state):
        return _resnet(state)
    some = ", ".join(list(state)[:NAMED_AT_MOST])
    raise CheckpointError(
        f"{path} holds an unknown network: its tensors are named {some}, ... Known are "
        "resnet_9blocks and its kin, unet_256, and the generators of pix2pixHD."
    )


def _trunk(state: Mapping[str, Tensor]) -> tuple[int, int, str]:
    """Return how often a residual generator halves the image, its blocks, and its last convolution."""
    blocks = {int(found[1]) for key in state if (found := BLOCK.match(key))}
    layers = {
        int(found[1]): key
        for key in state
        if (found := re.match(r"^model\.(\d+)\.weight$", key)) and state[key].ndim == 4
    }
    downs = sum(number < min(blocks) for number in layers) - 1
    return downs, len(blocks), layers[max(layers)]


def _resnet(state: Mapping[str, Tensor]) -> GeneratorSpec:
    """Recognise ``resnet_9blocks``, CycleGAN's generator and pix2pixHD's global generator."""
    downs, blocks, head = _trunk(state)
    width, channels = state["model.1.weight"].shape[:2]
    return replace(
        _common(state),
        width=width,
        downs=downs,
        blocks=blocks,
        in_channels=channels,
        out_channels=state[head].shape[0],
    )


def _enhancer(state: Mapping[str, Tensor]) -> GeneratorSpec:
    """Recognise pix2pixHD's local enhancer by the global generator inside it."""
    downs, blocks, _ = _trunk(state)
    width, channels = state["model1_1.1.weight"].shape[:2]
    return replace(
        _common(state),
        kind="enhancer",
        width=width,
        downs=downs,
        blocks=blocks,
        in_channels=channels,
    )


def _unet(state: Mapping[str, Tensor]) -> GeneratorSpec:
    """Recognise ``unet_256`` and ``unet_128``; the nesting of their names is their depth."""
    first, last = state["model.model.0.weight"], state["model.model.3.weight"]
    return replace(
        _common(state),
        kind="unet",
        width=first.shape[0],
        downs=max(key.split(".").count("model") for key in state) - 1,
        blocks=0,
        in_channels=first.shape[1],
        out_channels=last.shape[1],
    )


def _common(state: Mapping[str, Tensor]) -> GeneratorSpec:
    """Return a generator with the right normalisation, biases and dropout slot."""
    # InstanceNorm of old PyTorch has running statistics too, but no weights of its own.
    batch = any(
        f"{key.removesuffix('running_mean')}weight" in state
        for key in state
        if key.endswith("running_mean")
    )
    in_blocks = {int(found[2]): state[key].ndim for key in state if (found := BLOCK.match(key))}
    return GeneratorSpec(
        norm="batch" if batch else "instance",
        conv_bias=any(name in state for name in NORMALISED_BIASES),
        dropout=0.5 if not in_blocks or in_blocks.get(6) == 4 else None,
    )


def _without_wrapper(state: Mapping[str, Tensor]) -> State:
    """Drop the prefix that ``DataParallel`` leaves."""
    return {key.removeprefix("module."): value for key, value in state.items()}
