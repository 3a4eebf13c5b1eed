"""What a user can choose when patches are cut."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from pipeline.errors import UsageError

ImageKind = Literal["png", "webp", "jpeg"]
IMAGE_KINDS: tuple[ImageKind, ...] = get_args(ImageKind)
SMALLEST_PATCH_PX = 64
LARGEST_PATCH_PX = 8192


@dataclass(frozen=True, slots=True)
class PatchSettings:
    """Geometry, filters and file format of the patches.

    Raises :class:`UsageError` for values that cannot be met.
    """

    size: int = 1024
    """Side of a patch in pixels."""
    stride: int | None = None
    """Distance between neighbours in pixels; ``None``: patches touch."""
    mpp: float | None = None
    """µm per pixel; ``None``: the fixed slide's own, whose pixels then stay untouched."""
    min_tissue: float = 0.5
    """A patch with a smaller share of tissue, in either image, is blank."""
    max_filled: float = 0.02
    """A patch of which a larger share has no source on the moving slide is rejected."""
    max_shift_um: float = 10.0
    """A pair with a larger residual shift is rejected."""
    min_percentile: float = 95.0
    """A pair must be more similar than this share (per cent) of mismatched pairs."""
    image: ImageKind = "png"
    side_by_side: bool = False
    """Whether a pair is one image, H&E on the left."""

    def __post_init__(self) -> None:
        if not SMALLEST_PATCH_PX <= self.size <= LARGEST_PATCH_PX:
            raise UsageError(
                f"--size {self.size}: use {SMALLEST_PATCH_PX} to {LARGEST_PATCH_PX} px"
            )
        if self.stride is not None and self.stride < 1:
            raise UsageError(f"--stride {self.stride}: use at least 1 px")
        if self.mpp is not None and not 0.05 <= self.mpp <= 50:
            raise UsageError(f"--mpp {self.mpp:g}: expected µm per pixel, such as 0.46")
        if self.image not in IMAGE_KINDS:
            raise UsageError(f"--format {self.image}: choose one of {', '.join(IMAGE_KINDS)}")
        for option, value, most in (
            ("--min-tissue", self.min_tissue, 1.0),
            ("--max-filled", self.max_filled, 1.0),
            ("--min-percentile", self.min_percentile, 100.0),
            ("--max-shift", self.max_shift_um, float("inf")),
        ):
            if not 0 <= value <= most:
                raise UsageError(f"{option} {value:g}: use 0 to {most:g}")

    @property
    def step(self) -> int:
        """Distance between neighbours in pixels."""
        return self.stride or self.size

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)
