"""What is installed only with an extra, and how to say that it is missing."""

from __future__ import annotations

from importlib.util import find_spec

from pipeline.errors import MissingExtraError
from registration.files.commands import install_extra

TRAINING = ("torch", "lightning_fabric", "torchmetrics", "tensorboard")


def needs_training() -> None:
    """Raise :class:`MissingExtraError` where a package that training needs is not installed."""
    for name in TRAINING:
        if find_spec(name) is None:
            raise missing(name)


def missing(name: str) -> MissingExtraError:
    """Return the error that says how to install what training needs."""
    return MissingExtraError(
        f"{name} is not installed, which training and virtual staining need. "
        f"Install it with: {install_extra('train')}"
    )
