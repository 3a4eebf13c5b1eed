"""CycleGAN (Zhu et al. 2017): two generators that undo each other, no pairs needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from training.data.batches import Batch
from training.models.discriminators import PatchGAN
from training.models.generators import GeneratorSpec, build_generator, initialise
from training.models.losses import adversarial_loss
from training.models.pool import ImagePool
from training.models.trainable import Group, Losses, Trainable, add_terms, renew_loss_scale
from training.settings.config import TrainConfig

LAMBDA_CYCLE = 10.0
LAMBDA_IDENTITY = 0.5
POOL_SIZE = 50
GROUPS = {
    "generators": ("generator", "generator_back"),
    "discriminators": ("discriminator", "discriminator_back"),
}


class CycleGAN:
    """H&E -> IHC and back, with LSGAN losses, cycle and identity losses and image pools."""

    def __init__(self, config: TrainConfig, spec: GeneratorSpec, fabric: Fabric) -> None:
        self.spec = spec
        self.networks: dict[str, Trainable] = {}
        for name in (*GROUPS["generators"], *GROUPS["discriminators"]):
            network: nn.Module = (
                build_generator(spec)
                if name.startswith("generator")
                else PatchGAN(3, config.ndf, spec.norm)
            )
            initialise(network)
            self.networks[name] = Trainable(network, config, fabric)
        self._fabric = fabric
        self.groups = {
            group: Group([self.networks[name] for name in names], config, fabric)
            for group, names in GROUPS.items()
        }
        self._pools = {
            name: ImagePool(POOL_SIZE, seed=config.seed + number)
            for number, name in enumerate(GROUPS["discriminators"])
        }

    @property
    def generator(self) -> nn.Module:
        """The network that turns H&E into IHC."""
        return self.networks["generator"].network

    def step(self, batches: Sequence[Batch]) -> Losses:
        """Step both generators, then both discriminators, as the original does."""
        losses: Losses = {}
        fakes = []
        generators, discriminators = self.groups["generators"], self.groups["discriminators"]
        parts = len(batches)
        first, second = discriminators.networks
        with first.frozen(), second.frozen():
            for number, batch in enumerate(batches, start=1):
                with generators.sync_on_last(last=number == parts):
                    terms, fake = self._generator_terms(batch)
                    generators.backward(torch.stack(list(terms.values())).sum() / parts)
                fakes.append(fake)
                add_terms(losses, terms, parts)
        generators.step()
        for number, (batch, fake) in enumerate(zip(batches, fakes, strict=True), start=1):
            terms = self._teach_discriminators(batch, fake, parts, number == parts)
            add_terms(losses, terms, parts)
        discriminators.step()
        renew_loss_scale(self._fabric)
        return losses

    def extra_state(self) -> dict[str, Any]:
        """Return the image pools."""
        return {name: pool.state() for name, pool in self._pools.items()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Fill the image pools again."""
        device = next(self.generator.parameters()).device
        for name, pool in self._pools.items():
            pool.load_state(state[name], device)

    def _generator_terms(self, batch: Batch) -> tuple[Losses, tuple[Tensor, Tensor]]:
        """Return the terms of both generators' loss, and the images they made."""
        there, back = self.networks["generator"].train, self.networks["generator_back"].train
        fake_ihc, fake_he = there(batch.he), back(batch.ihc)
        judged = {
            "G_GAN": self.networks["discriminator"].forward_frozen(fake_ihc),
            "G_GAN_back": self.networks["discriminator_back"].forward_frozen(fake_he),
        }
        terms = {
            name: adversarial_loss(logits, real=True, kind="lsgan")
            for name, logits in judged.items()
        }
        for name, weight, made, wanted in (
            ("G_cycle", 1.0, back(fake_ihc), batch.he),
            ("G_cycle_back", 1.0, there(fake_he), batch.ihc),
            ("G_identity", LAMBDA_IDENTITY, there(batch.ihc), batch.ihc),
            ("G_identity_back", LAMBDA_IDENTITY, back(batch.he), batch.he),
        ):
            terms[name] = LAMBDA_CYCLE * weight * F.l1_loss(made.float(), wanted)
        return terms, (fake_ihc.detach(), fake_he.detach())

    def _teach_discriminators(
        self, batch: Batch, fake: tuple[Tensor, Tensor], parts: int, last: bool
    ) -> Losses:
        """Add the gradients of both discriminators; their losses are halved, as in the original."""
        terms = {}
        for name, short, real, made in (
            ("discriminator", "D", batch.ihc, fake[0]),
            ("discriminator_back", "D_back", batch.he, fake[1]),
        ):
            network = self.networks[name]
            older = self._pools[name].query(made)
            for what, image in (("real", real), ("fake", older)):
                with self.groups["discriminators"].sync_on_last(last=last and what == "fake"):
                    loss = adversarial_loss(network.train(image), real=what == "real", kind="lsgan")
                    self.groups["discriminators"].backward(0.5 * loss / parts)
                terms[f"{short}_{what}"] = loss
        return terms
