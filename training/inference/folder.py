"""Translating a folder of patches, one image at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training.data.images import SUFFIXES, from_batch, read_image, to_batch, write_png
from training.errors import DataError
from training.inference.checkpoints import TrainedGenerator
from training.memory import explained

TOO_LARGE = (
    "End other programs that use it (nvidia-smi lists them), or give --device cpu; a slide is "
    "translated tile by tile and needs less"
)
Tick = Callable[[int, int], None]
"""Called with how many images are done, and how many there are."""


def translate_folder(
    trained: TrainedGenerator, folder: Path, out: Path, tick: Tick | None = None
) -> list[Path]:
    """Write ``out/NAME.png`` for every image of ``folder``, sub-folders included, same structure.

    Images that are there already are left alone, so that a killed run goes on. Returns all paths.
    Raises :class:`DataError` when there is no image, or one cannot be read.
    """
    sources = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not sources:
        raise DataError(f"no images in {folder}")
    written, settled = [], False
    for number, source in enumerate(sources, start=1):
        target = (out / source.relative_to(folder)).with_suffix(".png")
        if not target.exists():
            image = to_batch(read_image(source))
            with explained(lambda: TOO_LARGE):
                trained = trained if settled else trained.checked(image)
                write_png(target, from_batch(trained(image)))
            settled = True
        written.append(target)
        if tick is not None:
            tick(number, len(sources))
    return written
