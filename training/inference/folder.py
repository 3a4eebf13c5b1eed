"""Translating a folder of patches: files are read and written while the network is at work."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from registration.files.alone import one_at_a_time
from registration.files.outputs import check_folder
from registration.files.storage import content_hash, write_json
from registration.files.text import read_json
from training.data.ahead import in_order
from training.data.images import NOT_READ, SUFFIXES, from_batch, read_image, to_batch, write_png
from training.errors import DataError
from training.inference.checkpoints import TrainedGenerator
from training.memory import OTHER_PROGRAMS, explained

TOO_LARGE = f"{OTHER_PROGRAMS}; a slide is translated tile by tile and needs less"
AHEAD = 8
MOST_THREADS = 8
RECORD = "translation.json"
"""What made the images of a folder: the model, and each image's source."""
FORMAT = "bci-pipeline translation"

Tick = Callable[[int, int], None]
"""Called with how many images are done, and how many there are."""


@one_at_a_time(lambda trained, folder, out, *_: out)
def translate_folder(
    trained: TrainedGenerator, folder: Path, out: Path, tick: Tick | None = None
) -> list[Path]:
    """Write ``out/NAME.png`` for every image of ``folder``, sub-folders included, same structure.

    Images that this model made of the same source are left alone, so that a killed run goes on.
    Returns all paths. Raises :class:`DataError` when there is no image, one cannot be read, two
    would get one name, or ``out`` holds what another model or program made.
    """
    check_folder(out, [folder], [trained.source])
    targets = _targets(folder, out)
    _claim(trained, targets, folder, out)
    missing = {target: source for target, source in targets.items() if not target.exists()}
    done = len(targets) - len(missing)
    if tick is not None and done:
        tick(done, len(targets))
    settled = False
    writing: deque[Future[None]] = deque()
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        images = in_order(pool, lambda path: to_batch(read_image(path)), missing.values(), AHEAD)
        for target, image in zip(missing, images, strict=True):
            with explained(lambda: TOO_LARGE):
                trained = trained if settled else trained.checked(image)
                writing.append(pool.submit(_write, target, trained(image)))
            settled = True
            while len(writing) > (AHEAD if done + len(writing) < len(targets) else 0):
                writing.popleft().result()
                done += 1
                if tick is not None:
                    tick(done, len(targets))
    return list(targets)


def _write(target: Path, generated: Tensor) -> None:
    """Wait for an image, and write it."""
    write_png(target, from_batch(generated))


def _targets(folder: Path, out: Path) -> dict[Path, Path]:
    """Return what to write, and the image that it is made of."""
    targets: dict[Path, Path] = {}
    for source in sorted(folder.rglob("*")):
        within = source.relative_to(folder)
        if any(part.startswith(".") for part in within.parts):
            continue
        if source.suffix.lower() in NOT_READ:
            raise DataError(
                f"{source} is in a format that is not read: export it as PNG, or move it"
            )
        if source.suffix.lower() in SUFFIXES:
            other = targets.setdefault((out / within).with_suffix(".png"), source)
            if other is not source:
                raise DataError(f"{other} and {source} would both be written as {within.stem}.png")
    if not targets:
        raise DataError(f"no images in {folder}")
    return targets


def _claim(
    trained: TrainedGenerator, targets: Mapping[Path, Path], folder: Path, out: Path
) -> None:
    """Record what makes the images; remove those whose source is another by now."""
    model = "/".join(filter(None, [content_hash(trained.source), trained.stain]))
    names = {target: source.relative_to(folder).as_posix() for target, source in targets.items()}
    made = {names[target]: content_hash(source) for target, source in targets.items()}
    before = _recorded(out / RECORD)
    present = [target for target in names if target.exists()]
    if before and before["model"] != model and present:
        raise DataError(
            f"{out} holds images of another model ({before['source']}); give another folder with "
            "--out, or remove it"
        )
    for target in present:
        name = names[target]
        if name not in before.get("images", {}):
            raise DataError(f"{target} was not made here; give another folder with --out")
        if before["images"][name] != made[name]:
            target.unlink()
    record = {
        "format": FORMAT,
        "model": model,
        "source": str(trained.source),
        "folder": str(folder),
    }
    write_json(out / RECORD, {**record, "images": {**before.get("images", {}), **made}})


def _recorded(path: Path) -> dict[str, Any]:
    """Return the record of an earlier run, empty where there is none."""
    if not path.exists():
        return {}
    record = read_json(path, DataError)
    if (
        not isinstance(record, dict)
        or record.get("format") != FORMAT
        or not {"model", "source", "images"} <= record.keys()
        or not isinstance(record["images"], dict)
    ):
        raise DataError(f"{path} belongs to something else; give another folder with --out")
    return record
