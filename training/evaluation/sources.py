"""Where generated images come from: a model, or a folder of images; and the released view of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from registration.files.words import no_folder, some
from training.data.images import SUFFIXES, Pixels, from_batch, read_image, to_batch
from training.data.pairs import PatchPair
from training.errors import DataError
from training.evaluation.scoring import Candidate
from training.evaluation.summary import MODEL
from training.inference.checkpoints import TrainedGenerator, load_generator
from training.memory import OTHER_PROGRAMS, explained

_OFFICIAL_SUFFIX = "_fake_B"
_RELEASED_WIDTH_PX = 320
_RELEASED_CROP_PX = 256


def generated_files(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by the name of their pair, whatever the image format.

    ``NAME_fake_B.png``, as the official test script writes them, is understood too. Raises
    :class:`DataError` when the folder is missing or two files claim one pair.
    """
    if not folder.is_dir():
        raise DataError(no_folder(folder, "folder of generated images"))
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        name = path.stem.removesuffix(_OFFICIAL_SUFFIX)
        if name in found:
            raise DataError(f"two generated images for {name}: {found[name]} and {path}. Keep one.")
        found[name] = path
    return found


def folder_candidate(folder: Path, pairs: Sequence[PatchPair]) -> Candidate:
    """Return the generated images of a folder as the candidate to score.

    Raises :class:`DataError` as :func:`generated_files` does, and when a pair has no image.
    """
    found = generated_files(folder)
    missing = [pair.name for pair in pairs if pair.name not in found]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(pairs)} pairs have no generated image in {folder}: {some(missing)}. "
            "Images are matched by name; a mean over some of them would not be comparable."
        )
    note = f"images in {folder}"
    return Candidate(MODEL, "generated", note, lambda pair, _, __: read_image(found[pair.name]))


def generated_source(
    pairs: Sequence[PatchPair], generated: Path, device: str
) -> tuple[tuple[PatchPair, ...], Callable[[PatchPair, Pixels], Pixels]]:
    """Return the pairs that have a generated image, and what gives it for a pair and its H&E.

    ``generated`` is a folder of images, or a run folder or checkpoint to make them with. Raises
    :class:`training.errors.TrainingError` where it is neither.
    """
    holds_weights = any(generated.glob("*.pt")) or any(generated.glob("*.pth"))
    if generated.is_dir() and not holds_weights:
        files = generated_files(generated)
        there = tuple(pair for pair in pairs if pair.name in files)
        return there, lambda pair, _: read_image(files[pair.name])
    model = model_candidate(load_generator(generated, device, "auto"))
    return tuple(pairs), lambda pair, he: model.make(pair, he, he)


def released_view(pixels: Pixels) -> Pixels:
    """Return what the released test script scores: 320 px wide, then the middle 256 x 256.

    Bicubic, as in its ``scale_width_and_midcrop``; values go through its conversion to [-1, 1]
    and back, see :func:`released_pixels`.
    """
    height, width = pixels.shape[:2]
    scaled_height = _RELEASED_WIDTH_PX * height // width
    size = (_RELEASED_WIDTH_PX, max(scaled_height, _RELEASED_CROP_PX))
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    x = (_RELEASED_WIDTH_PX - _RELEASED_CROP_PX) // 2
    y = max(0, scaled_height - _RELEASED_CROP_PX) // 2
    cropped = np.asarray(image.crop((x, y, x + _RELEASED_CROP_PX, y + _RELEASED_CROP_PX)))
    scaled = torch.from_numpy(cropped.copy()).float().div_(255).sub_(0.5).div_(0.5)
    return released_pixels(scaled).numpy()


def released_pixels(images: Tensor) -> Tensor:
    """Return images in [-1, 1] as uint8 as the released code does: cut off, not rounded."""
    return ((images.float() + 1) / 2.0 * 255.0).to(torch.uint8)


def model_candidate(trained: TrainedGenerator, *, as_released: bool = False) -> Candidate:
    """Return a trained generator as the candidate to score.

    ``as_released`` runs it as the released test script does: batch normalisation on the statistics
    of each single image, dropout active, values cut off. Its output is random; here it is seeded
    by the image's name, so that a second run gives the same figures.
    """
    device = trained.device
    if not as_released:
        settled: list[TrainedGenerator] = []

        def make(_: PatchPair, he: Pixels, __: Pixels) -> Pixels:
            with explained(lambda: OTHER_PROGRAMS):
                image = to_batch(he).to(device)
                if not settled:
                    settled.append(trained.checked(image))
                return from_batch(settled[0](image))

        return Candidate(MODEL, "model", trained.describe(), make)
    trained.network.train()

    def make_released(pair: PatchPair, he: Pixels, _: Pixels) -> Pixels:
        torch.manual_seed(zlib.crc32(pair.name.encode()))
        with torch.inference_mode():
            scaled = to_batch(he).to(device).float().div_(255).sub_(0.5).div_(0.5)
            return from_batch(released_pixels(trained.network(scaled)))

    return Candidate(MODEL, "model", f"{trained.describe()}, run as released", make_released)
