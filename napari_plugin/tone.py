"""How the colours of a slide are shown: as they are, or one stain alone, and with how much contrast."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_plugin.levels import Source, Tiles
from registration.geometry import Box, Image
from registration.stain import HED_VECTORS, optical_densities

Channel = Literal["colours", "haematoxylin", "DAB"]
CHANNELS: tuple[Channel, ...] = get_args(Channel)
PLACE = {"haematoxylin": 0, "DAB": 2}
"""Of a stain among Ruifrok and Johnston's vectors."""


@dataclass(frozen=True, slots=True)
class Tone:
    """What is shown of a slide's colours."""

    channel: Channel = "colours"
    contrast: float = 1.0
    """Factor on the optical density."""

    @property
    def next_channel(self) -> Tone:
        """The next of the channels, round and round."""
        place = (CHANNELS.index(self.channel) + 1) % len(CHANNELS)
        return replace(self, channel=CHANNELS[place])

    def of(self, source: Source) -> Source:
        """Return a source as it is to be shown, with a cache of its own."""
        if self == Tone():
            return source
        return Tiles(source.size, lambda box, downsample: self._read(source, box, downsample))

    def _read(self, source: Source, box: Box, downsample: float) -> Image:
        return self.on(source.read(box, downsample))

    def on(self, image: Image) -> Image:
        """Return an ``(h, w, 3)`` uint8 RGB image: each stain in its own colour on white."""
        density = cv2.LUT(np.ascontiguousarray(image), _densities())
        if self.channel != "colours":
            unmixed, mixed = _unmixing(PLACE[self.channel])
            amount = np.maximum(cv2.transform(density, unmixed), 0)
            density = cv2.transform(amount, mixed)
        return np.asarray(np.exp(density * np.float32(-self.contrast)) * 255 + 0.5).astype(np.uint8)


@cache
def _densities() -> NDArray[np.float32]:
    return optical_densities().astype(np.float32)


@cache
def _unmixing(stain: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what takes optical densities to the amount of a stain, and that back to densities."""
    amount = np.linalg.inv(HED_VECTORS)[:, stain].astype(np.float32)
    return amount[None], HED_VECTORS[stain].astype(np.float32)[:, None]
