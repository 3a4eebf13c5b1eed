"""The models: their networks, what they are trained for, and one training step of each.

pix2pix (Isola et al. 2017), pyramid pix2pix (Liu et al. 2022) and pix2pixHD (Wang et al. 2018) are
conditional GANs: the discriminator sees the H&E image beside a real or a generated IHC image, or
the latter alone (``conditional``). It is stepped first, then the generator, as in the released
code. CycleGAN is in ``cyclegan``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from training.data.batches import Batch
from training.models.cyclegan import CycleGAN
from training.models.discriminators import MultiscaleDiscriminator, PatchGAN
from training.models.generators import (
    GENERATORS,
    GeneratorSpec,
    build_generator,
    initialise,
)
from training.models.losses import (
    VGGLoss,
    adversarial_loss,
    feature_matching_loss,
    multiscale_adversarial_loss,
)
from training.models.pyramid import PyramidLoss
from training.models.trainable import Group, Losses, Trainable, add_terms, renew_loss_scale
from training.settings.config import TrainConfig

LAMBDA_FEATURES = 10.0


class Model(Protocol):
    """What the training loop needs of a model."""

    spec: GeneratorSpec
    networks: dict[str, Trainable]
    groups: dict[str, Group]

    @property
    def generator(self) -> nn.Module:
        """The network that turns H&E into IHC."""
        ...

    def step(self, batches: Sequence[Batch]) -> Losses:
        """Train on some batches, whose gradients are averaged; return the losses, detached."""
        ...

    def extra_state(self) -> dict[str, Any]:
        """Return what resuming needs beside networks and optimisers."""
        ...

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`extra_state`."""
        ...


def build_model(config: TrainConfig, fabric: Fabric) -> Model:
    """Return the model that ``config`` names, its networks freshly drawn.

    Raises :class:`training.errors.CheckpointError` when the VGG loss is asked for without weights.
    """
    spec = generator_spec(config)
    if config.model == "cyclegan":
        return CycleGAN(config, spec, fabric)
    if config.model == "pix2pixhd":
        return Pix2PixHD(config, spec, fabric)
    return Pix2Pix(config, spec, fabric)


def generator_spec(config: TrainConfig) -> GeneratorSpec:
    """Return the generator that a model trains."""
    if config.model == "cyclegan":
        return replace(GENERATORS["cyclegan"], width=config.ngf)
    if config.model == "pix2pixhd":
        kind = "pix2pixhd_enhancer" if config.local_enhancer else "pix2pixhd"
        return replace(GENERATORS[kind], width=config.ngf)
    if config.model == "pix2pix-unet":
        return replace(GENERATORS["unet_256"], width=config.ngf, dropout=config.dropout)
    spec = replace(GENERATORS["resnet_9blocks"], width=config.ngf, dropout=config.dropout)
    return replace(spec, stains=config.stains)


def shown_channels(config: TrainConfig) -> int:
    """Return the channels of what a discriminator sees: H&E and IHC or one image, and the stain."""
    images = 6 if config.conditional and config.model != "cyclegan" else 3
    return images + len(config.stains)


class Pix2Pix:
    """pix2pix and pyramid pix2pix: cross-entropy GAN, L1 and the pyramid loss."""

    def __init__(self, config: TrainConfig, spec: GeneratorSpec, fabric: Fabric) -> None:
        self.spec = spec
        self._lambda_gan, self._conditional = config.lambda_gan, config.conditional
        generator, discriminator = build_generator(spec), self._discriminator(config)
        for network in (generator, discriminator):
            initialise(network, zero_bias=config.model != "pix2pixhd")
        self._g = Trainable(generator, config, fabric)
        self._d = Trainable(discriminator, config, fabric)
        self._generators = Group([self._g], config, fabric)
        self._discriminators = Group([self._d], config, fabric)
        self.networks = {"generator": self._g, "discriminator": self._d}
        self.groups = {"generators": self._generators, "discriminators": self._discriminators}
        self._fabric = fabric
        self._pyramid = PyramidLoss(config.pyramid_weights).to(fabric.device)

    @property
    def generator(self) -> nn.Module:
        """The network that turns H&E into IHC."""
        return self._g.network

    def step(self, batches: Sequence[Batch]) -> Losses:
        """Step the discriminator, then the generator; return the losses, detached.

        The discriminator steps as soon as it has seen all batches. Of several, all but the last are
        therefore judged by the discriminator as it was: each batch passes the generator once, and
        no activations are kept longer than for its own gradients.
        """
        losses: Losses = {}
        for number, batch in enumerate(batches, start=1):
            last = number == len(batches)
            with self._generators.sync_on_last(last=last):
                fake: Tensor = self._g.train(batch.he, *batch.stains)
                terms = self._teach_discriminator(batch, fake.detach(), len(batches), last=last)
                if last:
                    self._discriminators.step()
                with self._d.frozen():
                    terms |= self._generator_terms(batch, fake)
                wanted = [term for name, term in terms.items() if name.startswith("G_")]
                self._generators.backward(torch.stack(wanted).sum() / len(batches))
            add_terms(losses, terms, len(batches))
        self._generators.step()
        renew_loss_scale(self._fabric)
        return losses

    def extra_state(self) -> dict[str, Any]:
        """Return nothing: networks and optimisers are all there is."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Accept nothing."""

    def _teach_discriminator(self, batch: Batch, fake: Tensor, parts: int, *, last: bool) -> Losses:
        """Add the discriminator's gradients of one batch; its loss is halved, as in pix2pix."""
        terms = {}
        for name, image in (("D_fake", fake), ("D_real", batch.ihc)):
            with self._discriminators.sync_on_last(last=last and name == "D_real"):
                found = self._d.train(self._shown(batch, image))
                terms[name] = self._verdict(found, real=name == "D_real")
                self._discriminators.backward(0.5 * terms[name] / parts)
        return terms

    def _generator_terms(self, batch: Batch, fake: Tensor) -> Losses:
        """Return the terms of the generator's loss."""
        found = self._d.forward_frozen(self._shown(batch, fake))
        terms = {"G_GAN": self._lambda_gan * self._verdict(found, real=True)}
        for number, term in enumerate(self._pyramid(fake, batch.ihc, batch.weight)):
            terms[f"G_S{number}" if number else "G_L1"] = term
        return terms

    def _shown(self, batch: Batch, image: Tensor) -> Tensor:
        """Return what the discriminator sees of a real or generated IHC image.

        Of several stains a constant channel each, 1 for that of the image.
        """
        shown = [batch.he, image] if self._conditional else [image]
        for stain in batch.stains:
            places = torch.arange(len(self.spec.stains), device=stain.device)
            marks = (stain[:, None] == places).to(batch.he.dtype)
            shown.append(marks[..., None, None].expand(-1, -1, *image.shape[2:]))
        return torch.cat(shown, dim=1) if len(shown) > 1 else image

    def _discriminator(self, config: TrainConfig) -> nn.Module:
        return PatchGAN(shown_channels(config), config.ndf)

    def _verdict(self, found: Any, *, real: bool) -> Tensor:
        """Return the adversarial loss of what the discriminator found."""
        return adversarial_loss(found, real=real, kind="vanilla")


class Pix2PixHD(Pix2Pix):
    """pix2pixHD: multi-scale discriminators, feature matching, and the VGG loss where it can be.

    The original steps the generator first; the order does not matter to the equilibrium, and one
    order for all conditional models keeps them comparable.
    """

    def __init__(self, config: TrainConfig, spec: GeneratorSpec, fabric: Fabric) -> None:
        super().__init__(config, spec, fabric)
        self._vgg: VGGLoss | None = None
        if config.vgg_weights:
            self._vgg = VGGLoss(Path(config.vgg_weights)).to(fabric.device).eval()

    def _generator_terms(self, batch: Batch, fake: Tensor) -> Losses:
        """Return GAN, feature-matching and VGG terms."""
        found = self._d.forward_frozen(self._shown(batch, fake))
        with torch.no_grad():
            wanted = self._d.forward_frozen(self._shown(batch, batch.ihc))
        terms = {
            "G_GAN": self._lambda_gan * self._verdict(found, real=True),
            "G_features": LAMBDA_FEATURES * feature_matching_loss(found, wanted),
        }
        if self._vgg is not None:
            with self._fabric.autocast():
                terms["G_VGG"] = LAMBDA_FEATURES * self._vgg(fake, batch.ihc)
        return terms

    def _discriminator(self, config: TrainConfig) -> nn.Module:
        return MultiscaleDiscriminator(shown_channels(config), config.ndf)

    def _verdict(self, found: Any, *, real: bool) -> Tensor:
        return multiscale_adversarial_loss(found, real=real)
