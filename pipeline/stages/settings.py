"""What a user can choose when slides are registered and translated."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

from pipeline.naming import Naming
from registration.landmarks.landmarks import Moving
from registration.recipes import Recipe, RegistrationSettings
from registration.settings import Settings, setting
from registration.slides.formats import ImageFormat
from registration.stain import Channel
from training.settings.config import Device, InferencePrecision

MOST_BLOCKS = 32
PLAIN = RegistrationSettings()


def _blocks(value: str) -> str:
    sides = [int(side) for side in re.findall(r"\d+", value)]
    if not re.fullmatch(r"\d{1,3}x\d{1,3}", value) or not all(1 <= k <= MOST_BLOCKS for k in sides):
        raise ValueError(
            f"expected rows x columns up to {MOST_BLOCKS}, such as 4x4, found {value!r}"
        )
    return value


class RegisterSettings(Naming):
    """How a pair of slides is registered, and what is written."""

    recipe: Recipe = setting(
        PLAIN.recipe, "How to register; paper does the paper's steps to the letter."
    )
    moving: Moving = setting("he", "Slide that is warped; the other keeps its pixels.")
    channel: Channel = setting(PLAIN.channel, "Channel that elastix registers.")
    blocks: Annotated[str, AfterValidator(_blocks)] = setting(
        f"{PLAIN.rows}x{PLAIN.columns}",
        "Blocks that are registered on their own.",
        unit="ROWSxCOLUMNS",
    )
    image: Literal[ImageFormat, "none"] = setting(
        "tiff", "Format of the registered slide; none writes no slide.", option="format"
    )

    @property
    def registration(self) -> RegistrationSettings:
        """The part of them that decides what the transform is."""
        rows, columns = (int(side) for side in self.blocks.split("x"))
        return RegistrationSettings(self.recipe, self.channel, rows, columns)


class TranslateSettings(Settings):
    """How a slide is translated, and what is written."""

    mpp: float | None = setting(
        None, "Pixel size of the slide.", unit="µm/px", unset="what the file says", ge=0.05, le=20
    )
    model_mpp: float | None = setting(
        None,
        "Pixel size that the model was trained at.",
        unit="µm/px",
        unset="what its checkpoint says",
        ge=0.05,
        le=50,
    )
    stain: str = setting(
        "", "Stain to make, where the model makes several.", unset="the only one of the model"
    )
    device: Device = setting("auto", "Where to compute; auto takes a GPU where there is one.")
    precision: InferencePrecision = setting(
        "auto", "Auto: half precision on a GPU, within a grey level; 32: exact."
    )
    format: ImageFormat = setting("tiff", "Format of the result.")
    everywhere: bool = setting(False, "Translates glass too, not tissue alone.")
