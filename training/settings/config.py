"""Everything that decides how a model is trained, in one frozen value."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, model_validator

from registration.settings import Settings, setting

ModelName = Literal["pyramid-pix2pix", "pix2pix", "pix2pix-unet", "pix2pixhd", "cyclegan"]
RecipeName = Literal["robust", "paper", "official"]
Augment = Literal["none", "flip", "dihedral"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "32", "bf16", "fp16"]
InferencePrecision = Literal["auto", "32"]
Schedule = Literal["linear", "released"]
Statistics = Literal["running", "batch"]
LeastGrade = Literal["bronze", "silver", "gold"]
OF_SEVERAL_STAINS = ("pyramid-pix2pix", "pix2pix")
"""Models that can be told which stain to make: their residual blocks end with a BatchNorm."""


def _epochs(value: Any) -> Any:
    """Return both numbers of ``50+50``; one alone is their sum, half of which falls."""
    if isinstance(value, int) or (isinstance(value, str) and value.strip().isdecimal()):
        return int(value) - int(value) // 2, int(value) // 2
    parts = value.replace(",", "+").split("+") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or len(parts) != 2:
        raise ValueError(f"expected two numbers, such as 50+50, found {value!r}")
    return tuple(parts)


Epochs = Annotated[tuple[int, int], BeforeValidator(_epochs)]


class TrainConfig(Settings):
    """Settings of one training run; recipes change the defaults."""

    recipe: RecipeName = setting(
        "paper",
        "Defaults to start from: robust, the paper's, or the released code's.",
        unset="robust",
    )
    model: ModelName = setting("pyramid-pix2pix", "What is trained.")
    stain: str = setting(
        "",
        "Stain to make, of a dataset with several; several, or all: one generator told which.",
        unset="the only one",
    )

    ngf: int = setting(64, "Channels of the generator's first layer.", ge=1, le=1024)
    ndf: int = setting(64, "Channels of the discriminator's first layer.", ge=1, le=1024)
    dropout: float = setting(0.5, "Dropout of the pix2pix generators while training.", ge=0, lt=1)
    local_enhancer: bool = setting(
        False, "Trains pix2pixHD's local enhancer instead of its global generator."
    )

    lambda_gan: float = setting(1.0, "Weight of the adversarial loss.", ge=0)
    lambda_l1: float = setting(25.0, "Weight of L1 at full resolution.", ge=0)
    scales: int = setting(
        1, "Scales of the pyramid loss beside L1: 1 is S1, 3 is S1 + S2 + S3.", ge=0, le=8
    )
    lambda_scale: float = setting(25.0, "Weight of each scale.", ge=0)
    conditional: bool = setting(
        True, "The discriminator sees the H&E image beside the IHC image, not the IHC image alone."
    )
    vgg_weights: str = setting(
        "", "Path of torchvision's VGG-19 weights for pix2pixHD, which otherwise has no VGG loss."
    )

    crop: int = setting(0, "Side of the square crops; 0 takes whole images.", unit="px", ge=0)
    batch: int = setting(2, "Pairs per batch and process.", ge=1)
    accumulate: int = setting(1, "Batches whose gradients are summed before a step.", ge=1)
    augment: Augment = setting("none", "Random mirroring, or all eight turns and mirrors.")
    confidence: bool = setting(
        False, "Weighs the image losses of each pair by how well registration aligned it."
    )
    tolerance_px: float = setting(
        4.0,
        "Shift at which a pair counts half in L1; every coarser scale tolerates twice as much.",
        unit="px",
        gt=0,
    )
    grade_weights: bool = setting(
        False, "With confidence: a silver pair weighs half as much as a gold one, bronze a quarter."
    )
    grade: LeastGrade = setting(
        "bronze",
        "Trains on pairs whose alignment has at least this grade; bronze takes all, and pairs without "
        "a grade.",
    )
    val_fraction: float = setting(
        0.1, "Share of the training pairs held out, in whole patients.", ge=0, lt=1
    )
    val_pairs: int = setting(
        64, "Scores at most so many held-out pairs, spread over all held-out patients.", ge=0
    )
    seed: int = setting(0, "Of weights, batches and held-out pairs.", ge=0)

    epochs: Epochs = setting(
        (50, 50),
        "Epochs at the full learning rate + epochs in which it falls to zero; or their sum.",
        unit="A+B",
    )
    lr: float = setting(2e-4, "Learning rate of Adam.", gt=0)
    schedule: Schedule = setting(
        "linear", "Learning rate; released steps before the first epoch, as the released code does."
    )

    ema: float = setting(
        0.0,
        "Decay of the running mean of the generator's weights per step of one process; 0 keeps none.",
        ge=0,
        lt=1,
    )
    recalibrate: int = setting(
        0,
        "Training images on which BatchNorm is measured again before the generator is used.",
        ge=0,
    )
    statistics: Statistics = setting(
        "running",
        "Of BatchNorm in validation; batch uses those of each image, and dropout, as released.",
    )

    device: Device = setting("auto", "Where to train; auto takes a GPU where there is one.")
    precision: Precision = setting("auto", "Floating-point format; auto is the fastest that works.")
    compile: bool = setting(True, "Compiles the networks where it pays: on a GPU.")
    recompute: bool = setting(
        False, "Computes activations of residual blocks twice instead of keeping them."
    )

    log_every: int = setting(50, "Steps between lines of the history.", ge=1)
    save_minutes: float = setting(10.0, "Minutes between checkpoints within an epoch.", ge=0)
    validate_every: int = setting(
        5, "Epochs between validations; each one draws a sheet of samples.", ge=1
    )
    tensorboard: bool = setting(True, "Writes TensorBoard files too.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if min(self.epochs) < 0 or not sum(self.epochs):
            raise ValueError(f"epochs: expected two numbers, such as 50+50, found {self.epochs}")
        if self.stains and self.model not in OF_SEVERAL_STAINS:
            raise ValueError(
                f"stain: a generator of several stains is one of {' or '.join(OF_SEVERAL_STAINS)}, not "
                f"{self.model}; train one for each stain"
            )
        return self

    @property
    def stains(self) -> tuple[str, ...]:
        """The stains of one generator that is told which to make; empty where it makes one."""
        return tuple(self.stain.split(",")) if "," in self.stain else ()

    @property
    def total_epochs(self) -> int:
        """Epochs in all."""
        return sum(self.epochs)

    @property
    def pyramid_weights(self) -> tuple[float, ...]:
        """Weights of L1, S1, S2, ... that this model trains with."""
        if self.model != "pyramid-pix2pix":
            return (self.lambda_l1,)
        return (self.lambda_l1, *(self.lambda_scale,) * self.scales)

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        constant, decay = self.epochs
        ahead = 2 if self.schedule == "released" else 1
        return self.lr * (1.0 - max(0, epoch + ahead - constant) / (decay + 1))
