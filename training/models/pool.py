"""CycleGAN's pool of generated images: discriminators also see what earlier generators made."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class ImagePool:
    """Holds up to ``size`` images; returns, half of the time, an older one (Shrivastava et al. 2017)."""

    def __init__(self, size: int = 50, seed: int = 0) -> None:
        self.size = size
        self._images: list[Tensor] = []
        self._random = torch.Generator().manual_seed(seed)

    def query(self, images: Tensor) -> Tensor:
        """Return as many images as given, ``(N, C, H, W)``, each new or from the pool."""
        return torch.stack([self._exchange(image) for image in images.detach()])

    def _exchange(self, image: Tensor) -> Tensor:
        """Put ``image`` into the pool, or give it back; return what the discriminator shall see."""
        if len(self._images) < self.size:
            self._images.append(image.clone())
            return image
        if torch.rand((), generator=self._random) < 0.5:
            return image
        place = int(torch.randint(self.size, (), generator=self._random))
        older, self._images[place] = self._images[place], image.clone()
        return older

    def state(self) -> dict[str, Any]:
        """Return everything that resuming needs."""
        return {"images": list(self._images), "random": self._random.get_state()}

    def load_state(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from :meth:`state`."""
        self._images = [image.to(device) for image in state["images"]]
        self._random.set_state(state["random"].cpu())
