"""Everything that decides how a model is trained, in one frozen value."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from training.data.batches import Augment
from training.errors import ConfigError

ModelName = Literal["pyramid-pix2pix", "pix2pix", "pix2pix-unet", "pix2pixhd", "cyclegan"]
Precision = Literal["auto", "32", "bf16", "fp16"]
Schedule = Literal["linear", "released"]
Statistics = Literal["running", "batch"]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run; recipes change the defaults."""

    recipe: str = "paper"
    model: ModelName = "pyramid-pix2pix"

    ngf: int = 64
    """Channels of the generator's first layer."""
    ndf: int = 64
    """Channels of the discriminator's first layer."""
    dropout: float = 0.5
    """Dropout of the pix2pix generators while training."""
    local_enhancer: bool = False
    """pix2pixHD: train the local enhancer instead of the global generator."""

    lambda_gan: float = 1.0
    lambda_l1: float = 25.0
    scales: int = 1
    """Scales of the pyramid loss beside L1: 1 is S1, 3 is S1 + S2 + S3."""
    lambda_scale: float = 25.0
    """Weight of S1."""
    coarse_gain: float = 1.0
    """How many times more each coarser scale weighs than the one before."""
    scale_weights: tuple[float, ...] = ()
    """Weights of S1, S2, ... one by one; empty to follow the two settings above."""
    vgg_weights: str = ""
    """pix2pixHD: path of torchvision's VGG-19 weights; empty to do without the VGG loss."""

    crop: int = 0
    """Side of the square crops in pixels; 0 takes whole images."""
    batch: int = 2
    accumulate: int = 1
    """Batches whose gradients are summed before a step."""
    augment: Augment = "none"
    confidence: bool = False
    """Weigh the image losses of each pair by how well registration aligned it."""
    tolerance_px: float = 4.0
    """Shift at which a pair counts half in L1; every coarser scale tolerates twice as much."""
    val_fraction: float = 0.1
    """Share of the training pairs held out, in whole patients."""
    val_pairs: int = 64
    """Score at most so many held-out pairs, evenly spread over them."""
    seed: int = 0

    epochs: tuple[int, int] = (50, 50)
    """Epochs at the full learning rate, and epochs in which it falls to zero."""
    lr: float = 2e-4
    beta1: float = 0.5
    schedule: Schedule = "linear"
    """``released`` steps before the first epoch, as the code does: its last epoch learns nothing."""

    ema: float = 0.0
    """Decay of the running mean of the generator's weights per step of one process; 0 keeps none."""
    recalibrate: int = 0
    """Training images on which BatchNorm is measured again before the generator is used."""
    statistics: Statistics = "running"
    """``batch`` validates with dropout and batch statistics, as the released test script does."""

    device: str = "auto"
    precision: Precision = "auto"
    channels_last: bool = True
    compile: bool = True
    """Compile the networks where it pays: on a GPU."""
    recompute: bool = False
    """Compute activations of residual blocks twice instead of keeping them."""

    log_every: int = 50
    """Steps between lines of the history."""
    save_minutes: float = 10.0
    """Minutes between checkpoints within an epoch."""
    validate_every: int = 5
    """Epochs between validations; each one draws a sheet of samples."""
    tensorboard: bool = True

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_ranges(self)

    @property
    def total_epochs(self) -> int:
        """Epochs in all."""
        return sum(self.epochs)

    @property
    def pyramid_weights(self) -> tuple[float, ...]:
        """Weights of L1, S1, S2, ... that this model trains with."""
        if self.model != "pyramid-pix2pix":
            return (self.lambda_l1,)
        if self.scale_weights:
            return (self.lambda_l1, *self.scale_weights)
        following = (self.lambda_scale * self.coarse_gain**i for i in range(self.scales))
        return (self.lambda_l1, *following)

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        constant, decay = self.epochs
        ahead = 2 if self.schedule == "released" else 1
        return self.lr * (1.0 - max(0, epoch + ahead - constant) / (decay + 1))

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


CHOICES: dict[str, tuple[str, ...]] = {
    "model": get_args(ModelName),
    "augment": get_args(Augment),
    "precision": get_args(Precision),
    "schedule": get_args(Schedule),
    "statistics": get_args(Statistics),
}
POSITIVE = (
    "ngf",
    "ndf",
    "batch",
    "accumulate",
    "lr",
    "coarse_gain",
    "tolerance_px",
    "log_every",
    "validate_every",
)
NOT_NEGATIVE = (
    *("lambda_gan", "lambda_l1", "lambda_scale", "scales", "crop", "val_pairs", "seed"),
    *("recalibrate", "save_minutes"),
)
SHARES = ("dropout", "val_fraction", "ema", "beta1")


def _check_choices(config: TrainConfig) -> None:
    for name, allowed in CHOICES.items():
        value = getattr(config, name)
        if value not in allowed:
            raise ConfigError(f"{name}: {value!r} is none of {', '.join(allowed)}")


def _check_ranges(config: TrainConfig) -> None:
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name in POSITIVE and value <= 0:
            raise ConfigError(f"{field.name}: {value} must be above 0")
        if field.name in NOT_NEGATIVE and value < 0:
            raise ConfigError(f"{field.name}: {value} must not be negative")
        if field.name in SHARES and not 0 <= value < 1:
            raise ConfigError(f"{field.name}: {value} must be at least 0 and below 1")
    if len(config.epochs) != 2 or min(config.epochs) < 0 or not sum(config.epochs):
        raise ConfigError(f"epochs: {config.epochs} must be two numbers, such as 50+50")
    if config.scale_weights and len(config.scale_weights) != config.scales:
        raise ConfigError(
            f"scale_weights: {len(config.scale_weights)} weights for {config.scales} scales"
        )
