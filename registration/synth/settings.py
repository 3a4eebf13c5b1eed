"""What to synthesise: one frozen value that fixes every pixel of a pair."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from registration.errors import SynthError
from registration.files.her2 import HER2_LEVELS, Her2
from registration.geometry import Size
from registration.synth.ndpi import SIZE_STEP, NdpiSpec

Section = Literal["he", "ihc"]
Stain = Literal["HER2", "KI67", "ER"]
DamageKind = Literal["tear", "fold", "pen", "bubble", "missing", "blur"]
Outline = Literal["section", "core"]
Arrangement = Literal["same", "permuted"]

SECTIONS: tuple[Section, ...] = get_args(Section)
STAINS: tuple[Stain, ...] = get_args(Stain)
"""HER2 stains membranes, the others nuclei."""
DAMAGE_KINDS: tuple[DamageKind, ...] = get_args(DamageKind)
OUTLINES: tuple[Outline, ...] = get_args(Outline)
ARRANGEMENTS: tuple[Arrangement, ...] = get_args(Arrangement)
MOST_PIECES = 12
REFERENCE_SIDE_PX = 4096
REFERENCE_WARP_PX = 40.0


@dataclass(frozen=True, slots=True)
class GlassSettings:
    """Several pieces of tissue on one glass.

    Raises :class:`SynthError` for values that cannot be met.
    """

    pieces: int = 2
    """Pieces that lie on both slides."""
    arrangement: Arrangement = "same"
    control: bool = False
    """Whether the IHC slide carries a piece of control tissue besides."""
    lost: bool = False
    """Whether the H&E slide carries a piece that the IHC slide lost."""

    def __post_init__(self) -> None:
        if not 1 <= self.pieces <= MOST_PIECES:
            raise SynthError(f"{self.pieces} pieces on a glass; use 1 to {MOST_PIECES}")
        if self.arrangement not in ARRANGEMENTS:
            raise SynthError(
                f"arrangement {self.arrangement!r} is not one of {', '.join(ARRANGEMENTS)}"
            )


@dataclass(frozen=True, slots=True)
class SynthSettings:
    """Settings of one synthetic pair; equal settings give identical files.

    Raises :class:`SynthError` for values that cannot be met.
    """

    size: int | Size = REFERENCE_SIDE_PX
    """Level-0 size of the HE slide (one number: square), multiples of 64 px."""
    seed: int = 0
    her2: Her2 = "2+"
    stain: Stain = "HER2"
    """Of the IHC section. The sections of all stains are cut from one block, beside one HE section, and
    differ in deformation, shared nuclei, noise and damage."""
    warp_px: float | None = None
    """Largest non-rigid displacement in level-0 px of the IHC slide; by default 40 px at 4,096 px,
    in proportion below and with the square root above (90 px at 20,480)."""
    rotation_deg: float | None = None
    """Rotation between the sections; by default a seeded one within 20 degrees."""
    changed_nuclei: float = 0.15
    """Share of a section's nuclei that the other section does not show."""
    mirrored: bool = False
    """Whether the IHC section was mounted face down."""
    damage: tuple[DamageKind, ...] = ()
    mpp_he: float = 0.46
    mpp_ihc: float = 0.46
    picks: int = 4
    """Pairs in ``landmarks.csv``."""
    pick_noise_px: float = 4.0
    """Standard deviation of a pick along each axis, in level-0 px of each slide."""
    truth_points: int = 400
    outline: Outline = "section"
    """A broad section, or a thin core from a biopsy needle along the longer side."""
    glass: GlassSettings | None = None
    """Several pieces on a glass, each of at most ``size``; ``None`` for one section that fills it."""

    def __post_init__(self) -> None:
        if self.outline not in OUTLINES:
            raise SynthError(f"outline {self.outline!r} is not one of {', '.join(OUTLINES)}")
        for mpp in (self.mpp_he, self.mpp_ihc):
            if not 0.1 <= mpp <= 2.0:
                raise SynthError(f"{mpp} µm per pixel is not that of a slide scanner (0.1 to 2)")
        if not 0 <= self.changed_nuclei <= 1:
            raise SynthError(f"the share of changed nuclei is {self.changed_nuclei}; use 0 to 1")
        if self.her2 not in HER2_LEVELS:
            raise SynthError(f"HER2 level {self.her2!r} is not one of {', '.join(HER2_LEVELS)}")
        if self.stain not in STAINS:
            raise SynthError(f"stain {self.stain!r} is not one of {', '.join(STAINS)}")
        for kind in self.damage:
            if kind not in DAMAGE_KINDS:
                raise SynthError(f"damage {kind!r} is not one of {', '.join(DAMAGE_KINDS)}")
        if self.picks < 4:
            raise SynthError(f"{self.picks} picked pairs; a projective transform needs 4")
        if min(self.he_size.shape) < 512:
            raise SynthError("slides under 512 px hold no tissue worth the name; use 1024 or more")
        NdpiSpec(self.he_size, self.mpp_he)
        NdpiSpec(self.ihc_size, self.mpp_ihc)

    @property
    def he_size(self) -> Size:
        """Level-0 size of the HE slide."""
        return self.size if isinstance(self.size, Size) else Size(self.size, self.size)

    @property
    def ihc_size(self) -> Size:
        """Level-0 size of the IHC slide: that of the HE slide, turned and at its own µm per pixel."""
        angle = math.radians(self.rotation_deg or 0.0)
        width, height = self.he_size.width, self.he_size.height
        turned = (
            math.hypot(width * math.cos(angle), height * math.sin(angle)),
            math.hypot(width * math.sin(angle), height * math.cos(angle)),
        )
        scale = self.mpp_he / self.mpp_ihc
        steps = [max(1, math.ceil(side * scale / SIZE_STEP - 1e-6)) for side in turned]
        return Size(steps[0] * SIZE_STEP, steps[1] * SIZE_STEP)

    @property
    def warp(self) -> float:
        """Largest non-rigid displacement in level-0 px of the IHC slide."""
        if self.warp_px is not None:
            return self.warp_px
        ratio = min(self.ihc_size.shape) / REFERENCE_SIDE_PX
        return REFERENCE_WARP_PX * (ratio if ratio < 1 else math.sqrt(ratio))

    def number_of(self, section: Section) -> int:
        """Return the place of a section in the block: that of HE is 0, those of the stains follow."""
        return 0 if section == "he" else 1 + STAINS.index(self.stain)

    def dice(self, *purpose: int, section: Section = "ihc") -> list[int]:
        """Return the seed of what is drawn anew for every IHC section of the block."""
        number = self.number_of(section)
        return [self.seed, *purpose, *([number] if number > 1 else [])]

    def size_of(self, section: Section) -> Size:
        """Level-0 size of one section's slide."""
        return self.he_size if section == "he" else self.ihc_size

    def mpp_of(self, section: Section) -> float:
        """Micrometres per pixel of one section's slide."""
        return self.mpp_he if section == "he" else self.mpp_ihc
