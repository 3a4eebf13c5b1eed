"""Networks against the published sizes, layer names and behaviour of the originals."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.discriminators import MultiscaleDiscriminator, PatchGAN
from training.models.generators import (
    GENERATORS,
    GeneratorSpec,
    ResnetBlock,
    build_generator,
    frozen_statistics,
    initialise,
    recompute_activations,
)
from training.models.layers import norm_layer, reflected


def millions(network: nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / 1e6


@pytest.mark.parametrize(
    ("name", "expected"),
    [("resnet_9blocks", 11.38), ("unet_256", 54.4), ("pix2pixhd", 182.4), ("cyclegan", 11.38)],
)
def test_generators_have_the_published_size(name: str, expected: float) -> None:
    with torch.device("meta"):
        assert millions(build_generator(GENERATORS[name])) == pytest.approx(expected, abs=0.05)


def test_discriminators_have_the_published_size() -> None:
    with torch.device("meta"):
        assert millions(PatchGAN()) == pytest.approx(2.77, abs=0.005)
        assert millions(MultiscaleDiscriminator()) == pytest.approx(2 * 2.77, abs=0.01)


def test_resnet_9blocks_has_the_layer_names_of_the_official_checkpoint() -> None:
    with torch.device("meta"):
        keys = set(build_generator(GENERATORS["resnet_9blocks"]).state_dict())
    numbers = {key.split(".")[1] for key in keys}
    inner = {".".join(key.split(".")[2:4]) for key in keys if ".conv_block." in key}

    assert len(keys) == 140
    assert numbers == {"1", "2", "4", "5", "7", "8", *map(str, range(10, 21)), "22", "23", "26"}
    assert inner == {"conv_block.1", "conv_block.2", "conv_block.6", "conv_block.7"}
    assert {"model.26.weight", "model.26.bias"} <= keys
    assert "model.1.bias" not in keys


def test_without_a_dropout_slot_the_block_indices_close_up() -> None:
    with torch.device("meta"):
        keys = build_generator(GeneratorSpec(dropout=None)).state_dict()

    inner = {".".join(key.split(".")[2:4]) for key in keys if ".conv_block." in key}
    assert inner == {"conv_block.1", "conv_block.2", "conv_block.5", "conv_block.6"}


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (GeneratorSpec(width=4, blocks=2), (20, 36)),
        (GeneratorSpec(kind="unet", width=2, downs=5, blocks=0), (32, 96)),
        (GeneratorSpec(width=2, downs=4, blocks=1, norm="instance", conv_bias=True), (32, 48)),
        (GeneratorSpec(kind="enhancer", width=2, downs=2, blocks=1, dropout=None), (24, 40)),
    ],
)
def test_output_is_an_image_of_the_same_size(spec: GeneratorSpec, size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    image = torch.rand(2, 3, *size) * 2 - 1

    generated = build_generator(spec)(image)

    assert generated.shape == image.shape
    assert generated.abs().max() <= 1
    assert all(side % spec.multiple_px == 0 for side in size)


def test_patchgan_judges_70_pixel_patches() -> None:
    discriminator = PatchGAN(width=2).eval()
    pair = torch.rand(1, 6, 128, 160, requires_grad=True)

    logits = discriminator(pair)
    (seen,) = torch.autograd.grad(logits[0, 0, 7, 9], pair)
    rows, columns = (seen[0].abs().sum(dim=(0, axis)).nonzero() for axis in (2, 1))

    assert logits.shape == (1, 1, 14, 18)
    assert int(rows.max() - rows.min()) + 1 == 70
    assert int(columns.max() - columns.min()) + 1 == 70


def test_multiscale_discriminator_returns_every_stage_from_fine_to_coarse() -> None:
    found = MultiscaleDiscriminator(width=2, scales=3)(torch.rand(1, 6, 64, 96))

    assert [len(stages) for stages in found] == [5, 5, 5]
    assert [tuple(stages[0].shape[-2:]) for stages in found] == [(33, 49), (17, 25), (9, 13)]
    assert found[0][-1].shape[1] == 1


def test_initial_weights_follow_the_originals() -> None:
    torch.manual_seed(0)
    network = build_generator(GeneratorSpec(width=32, blocks=2))

    initialise(network)

    weights = torch.cat([m.weight.flatten() for m in network.modules() if isinstance(m, nn.Conv2d)])
    gains = torch.cat([m.weight for m in network.modules() if isinstance(m, nn.BatchNorm2d)])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)
    assert weights.mean().item() == pytest.approx(0, abs=1e-4)
    assert gains.mean().item() == pytest.approx(1, abs=0.005)
    assert gains.std().item() == pytest.approx(0.02, rel=0.15)
    final = network.get_submodule("model.19")
    assert isinstance(final, nn.Conv2d)
    assert final.bias is not None
    assert final.bias.abs().sum() == 0


def train_step(network: nn.Module, image: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(5)
    network(image).square().mean().backward()
    state = {f"buffer {k}": v.clone() for k, v in network.named_buffers()}
    return state | {k: p.grad.clone() for k, p in network.named_parameters() if p.grad is not None}


def test_recomputed_activations_change_neither_gradients_nor_statistics() -> None:
    torch.manual_seed(2)
    plain = build_generator(GeneratorSpec(width=4, blocks=3, dropout=0.5))
    thrifty = copy.deepcopy(plain)
    recompute_activations(thrifty)
    assert any(isinstance(m, ResnetBlock) and m.recompute for m in thrifty.modules())
    image = torch.rand(2, 3, 16, 24)

    expected, found = train_step(plain, image), train_step(thrifty, image)

    assert expected.keys() == found.keys()
    for name in expected:
        assert torch.equal(expected[name], found[name]), name


def test_frozen_statistics_still_normalise_by_the_batch() -> None:
    norm = nn.BatchNorm2d(2)
    x = torch.rand(3, 2, 5, 7) + 4

    with frozen_statistics(norm):
        y = norm(x)

    assert y.mean().abs().item() < 1e-5
    assert norm.running_mean is not None
    assert norm.running_mean.abs().sum() == 0
    assert norm.num_batches_tracked == 0
    norm(x)
    assert norm.num_batches_tracked == 1


def test_a_unet_of_few_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="at least five levels"):
        build_generator(GeneratorSpec(kind="unet", downs=4))


@pytest.mark.parametrize("count", [1, 2])
def test_instance_norm_has_one_gradient_whatever_the_memory_format(count: int) -> None:
    random = torch.Generator().manual_seed(3)
    image, upstream = (
        torch.randn(count, 4, 6, 5, dtype=torch.float64, generator=random) for _ in range(2)
    )
    centred = image - image.mean(dim=(2, 3), keepdim=True)
    scale = (centred.square().mean(dim=(2, 3), keepdim=True) + 1e-5).rsqrt()
    unit = centred * scale
    means = [t.mean(dim=(2, 3), keepdim=True) for t in (upstream, upstream * unit)]
    expected = scale * (upstream - means[0] - unit * means[1])

    for memory_format in (torch.contiguous_format, torch.channels_last):
        given = image.clone(memory_format=memory_format).requires_grad_(True)
        normed = norm_layer("instance", 4)(given)
        normed.backward(upstream.clone(memory_format=memory_format))

        assert (normed - unit).abs().max() < 1e-12
        assert given.grad is not None
        assert (given.grad - expected).abs().max() < 1e-12, memory_format


@pytest.mark.parametrize("px", [1, 3])
@pytest.mark.parametrize("count", [1, 2])
def test_borders_reflected_by_slices_are_those_of_pytorch(px: int, count: int) -> None:
    image = torch.randn(count, 8, 11, 17).to(memory_format=torch.channels_last).requires_grad_()

    ours, theirs = reflected(image, px), F.pad(image, (px,) * 4, mode="reflect")

    assert torch.equal(ours, theirs)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    gradient = torch.randn_like(ours)
    (found,) = torch.autograd.grad(ours, image, gradient)
    (expected,) = torch.autograd.grad(theirs, image, gradient)
    assert torch.allclose(found, expected, atol=1e-6)
    assert found.is_contiguous(memory_format=torch.channels_last)
