"""Training steps against the steps of the original code, written out literally."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from training.data.batches import Batch
from training.devices import make_fabric
from training.models.generators import GeneratorSpec, build_generator
from training.models.pix2pix import build_model
from training.run.averaging import Averaged, recalibrate
from training.settings.config import TrainConfig

SmallConfig = Callable[..., TrainConfig]


def a_batch(size: int = 32, count: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(size)
    he, ihc = (torch.rand(count, 3, size, size, generator=generator) * 2 - 1 for _ in range(2))
    return Batch(he, ihc)


def four_blurs_and_every_second_pixel(image: Tensor) -> Tensor:
    taps = torch.exp(torch.tensor([-0.5, 0.0, -0.5]))
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    for _ in range(4):
        padded = F.pad(image, (1, 1, 1, 1), mode="reflect")
        image = F.conv2d(padded, kernel.expand(3, 1, 3, 3), groups=3)
    return image[..., ::2, ::2]


def literal_step(
    g: nn.Module, d: nn.Module, optimizers: tuple[torch.optim.Adam, torch.optim.Adam], batch: Batch
) -> None:
    """One step as the released code of pyramid pix2pix takes it, S1 + S2 + S3."""
    bce = nn.BCEWithLogitsLoss()
    fake = g(batch.he)
    judged_fake = d(torch.cat([batch.he, fake.detach()], 1))
    judged_real = d(torch.cat([batch.he, batch.ihc], 1))
    loss_d = 0.5 * (
        bce(judged_fake, torch.zeros_like(judged_fake))
        + bce(judged_real, torch.ones_like(judged_real))
    )
    optimizers[1].zero_grad()
    loss_d.backward()
    optimizers[1].step()
    judged = d(torch.cat([batch.he, fake], 1))
    loss_g = bce(judged, torch.ones_like(judged)) + 25 * F.l1_loss(fake, batch.ihc)
    a, b = fake, batch.ihc
    for _ in range(3):
        a, b = four_blurs_and_every_second_pixel(a), four_blurs_and_every_second_pixel(b)
        loss_g = loss_g + 25 * F.l1_loss(a, b)
    optimizers[0].zero_grad()
    loss_g.backward()
    optimizers[0].step()


@pytest.mark.parametrize("model", ["pyramid-pix2pix", "pix2pixhd"])
def test_a_discriminator_of_ihc_alone_is_blind_to_the_he_image(
    small_config: SmallConfig, model: str
) -> None:
    config = small_config(model=model, ngf=4, ndf=4, conditional=False)
    trained = build_model(config, make_fabric(config))
    seen: list[tuple[int, ...]] = []
    network = trained.networks["discriminator"].network
    network.register_forward_pre_hook(lambda _, images: seen.append(tuple(images[0].shape)))

    losses = trained.step([a_batch()])

    assert set(seen) == {(2, 3, 32, 32)}
    assert {"D_real", "D_fake", "G_GAN"} <= losses.keys()


def test_pyramid_pix2pix_steps_like_the_released_code(small_config: SmallConfig) -> None:
    config = small_config(ngf=4, ndf=4, scales=3, dropout=0.5)
    torch.manual_seed(0)
    model = build_model(config, make_fabric(config))
    g = copy.deepcopy(model.networks["generator"].network)
    d = copy.deepcopy(model.networks["discriminator"].network)
    adams = tuple(torch.optim.Adam(n.parameters(), lr=2e-4, betas=(0.5, 0.999)) for n in (g, d))

    torch.manual_seed(1)
    literal_step(g, d, adams, a_batch())  # type: ignore[arg-type]
    literal_gradients = {name: p.grad for name, p in g.named_parameters()}
    torch.manual_seed(1)
    kept: dict[str, Tensor] = {}
    trained, side = model.networks["generator"], model.groups["generators"]
    step = side.step

    def keep_gradients_and_step() -> None:
        kept.update(
            {n: p.grad.clone() for n, p in trained.network.named_parameters() if p.grad is not None}
        )
        step()

    side.step = keep_gradients_and_step  # type: ignore[method-assign]
    losses = model.step([a_batch()])

    for name, expected in literal_gradients.items():
        assert expected is not None
        assert torch.allclose(kept[name], expected, rtol=1e-3, atol=1e-5), name
    judge = model.networks["discriminator"].network.state_dict()
    for name, value in d.state_dict().items():
        assert torch.allclose(judge[name].float(), value.float(), atol=1e-5), name
    assert set(losses) == {"D_fake", "D_real", "G_GAN", "G_L1", "G_S1", "G_S2", "G_S3"}


@pytest.mark.parametrize("model", ["pyramid-pix2pix", "cyclegan"])
def test_a_loss_scale_changes_nothing_but_the_rounding(
    small_config: SmallConfig, model: str
) -> None:
    moments = []
    for scaled in (False, True):
        config = small_config(model=model, ngf=4, ndf=4)
        fabric = make_fabric(config)
        if scaled:
            # float32 with a scale that doubles after every step
            fabric.strategy.precision.scaler = torch.amp.GradScaler("cpu", growth_interval=1)
            fabric.strategy.precision.backward = partial(scaled_backward, fabric)
        torch.manual_seed(0)
        stepping = build_model(config, fabric)
        for _ in range(3):
            stepping.step([a_batch(), a_batch(), a_batch()])
        moments.append(
            {
                name: torch.cat([s["exp_avg"].flatten() for s in side.optimizer.state.values()])
                for name, side in stepping.groups.items()
            }
        )

    assert fabric.strategy.precision.scaler.get_scale() == 2.0**16 * 2**3
    for name, plain in moments[0].items():
        assert torch.linalg.norm(plain - moments[1][name]) < 1e-3 * torch.linalg.norm(plain), name


def scaled_backward(fabric: Any, tensor: Tensor, model: Any, *args: Any, **kwargs: Any) -> None:
    fabric.strategy.precision.scaler.scale(tensor).backward(*args, **kwargs)


class Waits(TorchDispatchMode):
    """Counts what would make a GPU wait: values read back, tensors made from numbers."""

    OPERATIONS = ("aten::_local_scalar_dense", "aten::lift_fresh", "aten::nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function.name().split(".")[0] in self.OPERATIONS:
            self.found.append(function.name())
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("model", ["pyramid-pix2pix", "pix2pix", "pix2pixhd"])
def test_a_step_reads_nothing_back_and_makes_no_tensor_from_numbers(
    small_config: SmallConfig, model: str
) -> None:
    config = small_config(model=model, ngf=4, ndf=4, scales=2)
    stepping = build_model(config, make_fabric(config))
    batch = a_batch(64)
    weights = torch.ones(2, len(config.pyramid_weights))
    stepping.step([Batch(batch.he, batch.ihc, weights)])
    for side in stepping.groups.values():
        side.step = lambda: None  # type: ignore[method-assign] # Adam on a CPU reads its step

    with Waits() as waits:
        stepping.step([Batch(batch.he, batch.ihc, weights)])

    assert waits.found == []


def test_cyclegan_needs_no_pairs_and_steps_all_four(small_config: SmallConfig) -> None:
    config = small_config(model="cyclegan")
    torch.manual_seed(0)
    model = build_model(config, make_fabric(config))
    before = {k: copy.deepcopy(p.network.state_dict()) for k, p in model.networks.items()}

    losses = model.step([a_batch()])

    assert all(torch.isfinite(v) for v in losses.values())
    for name, trained in model.networks.items():
        now = trained.network.state_dict()
        assert any(not torch.equal(now[k], v) for k, v in before[name].items()), name
    assert all(p.grad is None for q in model.networks.values() for p in q.network.parameters())


def test_sample_weights_reach_the_image_losses(small_config: SmallConfig) -> None:
    config = small_config(scales=1)
    batch = a_batch()
    blind = Batch(batch.he, batch.ihc, torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    torch.manual_seed(0)
    model = build_model(config, make_fabric(config))

    losses = model.step([blind])

    assert losses["G_L1"] == 0
    assert losses["G_S1"] > 0


@pytest.mark.parametrize(("local", "kind"), [(False, "resnet"), (True, "enhancer")])
def test_pix2pixhd_trains_either_generator(
    small_config: SmallConfig, local: bool, kind: str
) -> None:
    config = small_config(model="pix2pixhd", local_enhancer=local)
    model = build_model(config, make_fabric(config))

    losses = model.step([a_batch(64)])

    assert model.spec.kind == kind
    assert set(losses) == {"D_fake", "D_real", "G_GAN", "G_features"}


def test_average_follows_the_weights_with_a_growing_memory() -> None:
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(0.0)
    averaged = Averaged(network, 0.9)
    expected = 0.0
    for step in range(1, 300):
        with torch.no_grad():
            network.weight.fill_(float(step))
        averaged.update(network)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step

    weight = averaged.network.get_parameter("weight")
    assert weight.item() == pytest.approx(expected, rel=1e-5)
    assert weight.item() == pytest.approx(299 - 9, abs=0.1)


def test_recalibration_measures_the_statistics_as_training_has_them_with_dropout() -> None:
    torch.manual_seed(0)
    network = build_generator(GeneratorSpec(width=4, blocks=2, dropout=0.5))
    images = [torch.rand(2, 3, 32, 40) * 2 - 1 for _ in range(3)]
    seen: list[Tensor] = []
    norm = network.get_submodule("model.10.conv_block.7")
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))

    state = torch.get_rng_state()

    recalibrate(network, [(image,) for image in images])

    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    means = torch.stack([x.mean(dim=(0, 2, 3)) for x in seen]).mean(dim=0)
    variances = torch.stack([x.var(dim=(0, 2, 3)) for x in seen]).mean(dim=0)
    assert torch.allclose(norm.running_mean, means, atol=1e-5)
    assert torch.allclose(norm.running_var, variances, rtol=1e-4)
    network.train()(images[0])
    half_is_dropped = seen[-1].var(dim=(0, 2, 3))
    network.eval()(images[0])
    assert half_is_dropped.sum() > 1.2 * seen[-1].var(dim=(0, 2, 3)).sum()
    assert variances.sum() > 1.2 * seen[-1].var(dim=(0, 2, 3)).sum()
    assert norm.momentum == 0.1
    assert not network.training
    with torch.no_grad():
        first = network(images[0])
    assert torch.equal(first, network(images[0]).detach())
