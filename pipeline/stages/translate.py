"""Virtual IHC of a whole slide: tiles of the slide through a generator, into a tiled pyramid.

Only tissue is translated; the rest stays white. A tile is read with the halo that makes it equal
to translating the whole slide at once (see ``training.inference.tiling``). Finished units of the
pyramid are kept beside the output until it is whole, so that a killed run goes on where it stopped.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.errors import UsageError
from pipeline.stages.settings import TranslateSettings
from registration.errors import OutputError
from registration.execution import usable_cores
from registration.files.alone import one_at_a_time
from registration.files.outputs import check_file, check_folder, suffix_of
from registration.files.storage import (
    content_hash,
    settings_hash,
    write_json,
    written_whole,
)
from registration.files.text import read_json
from registration.geometry import Box, Image, Size
from registration.slides.formats import NAMED, SUFFIXES, ImageFormat
from registration.slides.pyramid import (
    EncodedUnit,
    PyramidSpec,
    encode_unit,
    unit_boxes,
    write_pyramid,
)
from registration.slides.slide import Slide, open_slide
from registration.stains import slide_doubt
from registration.tissue import TissueMap
from training.data.ahead import in_order
from training.data.images import Pixels
from training.devices import device_named
from training.inference.checkpoints import TrainedGenerator, load_generator
from training.inference.tiling import (
    Prepared,
    Tiling,
    generate_tiles,
    largest_tiling,
    prepare_tile,
)
from training.memory import OTHER_PROGRAMS, explained

MARGIN_UM = 100.0
"""Tissue is widened by this much, so that its rim is translated too."""
SAME_MPP = 0.02
"""Slides whose pixels differ by at most this share from those of the training are not resampled."""
MOST_ENLARGED = 8.0
"""A slide whose pixels are larger than the model's by more shows nothing that it knows."""
READ_AHEAD = 3
MOST_THREADS = 8
FORMAT = "bci-pipeline translation"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TranslateRequest:
    """What to translate, and how."""

    checkpoint: Path
    slide: Path
    out: Path
    settings: TranslateSettings = TranslateSettings()


@dataclass(frozen=True)
class Translated:
    """The result: the file, its size and pixel size, how much of it is tissue, what to know."""

    path: Path
    size: Size
    mpp: float
    translated: float
    """Share of the slide that was translated."""
    notes: tuple[str, ...]


@one_at_a_time(lambda request, *_: request.out)
def translate_slide(request: TranslateRequest, progress: Progress) -> Translated:
    """Translate a whole slide.

    Raises :class:`training.errors.TilingError` for a model that cannot be applied tile by tile,
    and what opening slide and checkpoint raise.
    """
    with (
        explained(lambda: OTHER_PROGRAMS),
        open_slide(request.slide, request.settings.mpp) as slide,
    ):
        work, notes = _prepared(request, slide)
        spec, size = work.spec, work.spec.size
        key = _key(request, slide, work.trained, spec)
        if not _finished(request, key):
            store = _store(request, key)
            write_pyramid(request.out, spec, _units(work, store, progress))
            shutil.rmtree(store)
        boxes = unit_boxes(spec)
        pixels = sum(tile.width * tile.height for box in boxes for tile in work.tiles(box))
    share = pixels / (size.width * size.height)
    return Translated(request.out, size, spec.mpp, share, (*slide.warnings, *notes))


def plan_translation(request: TranslateRequest) -> dict[str, object]:
    """Return what :func:`translate_slide` would do; raises what it would refuse."""
    with open_slide(request.slide, request.settings.mpp) as slide:
        work, notes = _prepared(request, slide)
        trained, tiling, spec = work.trained, work.tiling, work.spec
        size = spec.size
        done = request.out.exists() and _finished(request, _key(request, slide, trained, spec))
        tiles = [tile for box in unit_boxes(spec) for tile in work.tiles(box)]
        pixels = sum(tile.width * tile.height for tile in tiles)
        return {
            "model": trained.describe(),
            "slide": str(slide.path),
            "out": str(request.out),
            "size": f"{size.width} x {size.height} px at {spec.mpp:g} µm/px",
            "tiles": f"{len(tiles)} of {tiling.tile_px} px, "
            f"{100 * pixels / (size.width * size.height):.0f} % of the slide",
            "device": str(trained.device),
            "done already": done,
            "notes": [*slide.warnings, *notes],
        }


def _prepared(request: TranslateRequest, slide: Slide) -> tuple[_Work, tuple[str, ...]]:
    """Load the generator and lay out the tiles; return what is to be known about it, too."""
    settings = request.settings
    check = check_folder if settings.format == "ome-zarr" else check_file
    check(request.out, [request.slide])
    trained = load_generator(
        request.checkpoint, device_named(settings.device), settings.precision, settings.stain
    )
    downsample, notes = _scale(trained, slide, settings.model_mpp)
    notes += tuple(filter(None, [slide_doubt(slide, "H&E")]))
    size = slide.size.downsampled(downsample)
    spec = PyramidSpec(size=size, mpp=slide.mpp * downsample, format=settings.format)
    tissue = None if settings.everywhere else _tissue(slide)
    work = _Work(slide, trained, largest_tiling(trained), spec, downsample, tissue)
    return _settled(work), notes


@dataclass(frozen=True, eq=False)
class _Work:
    """What every tile needs. Boxes are in pixels of the output."""

    slide: Slide
    trained: TrainedGenerator
    tiling: Tiling
    spec: PyramidSpec
    downsample: float
    tissue: TissueMap | None

    def tiles(self, unit: Box) -> list[Box]:
        """Return the tiles of a unit that show tissue."""
        return [tile for tile in unit.tiles(self.tiling.tile_px) if self._shows_tissue(tile)]

    def read(self, rows: slice, columns: slice) -> Pixels:
        """Return pixels of the slide at the output's scale."""
        width, height = columns.stop - columns.start, rows.stop - rows.start
        return self.slide.read_scaled(
            Box(columns.start, rows.start, width, height), self.downsample
        )

    def prepare(self, tile: Box) -> Prepared:
        """Read what a tile needs."""
        rows, columns = tile.slices()
        shape = self.spec.size.shape
        return prepare_tile(self.trained, self.tiling, self.read, rows, columns, shape)

    def _shows_tissue(self, tile: Box) -> bool:
        """Return whether any tissue lies on a tile."""
        if self.tissue is None:
            return True
        scale = self.downsample / self.tissue.downsample
        top, left = int(tile.y * scale), int(tile.x * scale)
        bottom, right = -int(-tile.bottom * scale // 1), -int(-tile.right * scale // 1)
        return bool(self.tissue.mask[top:bottom, left:right].any())


def _settled(work: _Work) -> _Work:
    """Return the work with the generator in half precision only where it gives the same image.

    Decided on a tile in the middle of what will be translated, so that every run decides alike.
    """
    if not work.trained.half:
        return work
    units = [tiles for tiles in map(work.tiles, unit_boxes(work.spec)) if tiles]
    middle = units[len(units) // 2]
    trained = work.trained.checked(work.prepare(middle[len(middle) // 2]).pixels)
    return replace(work, trained=trained, tiling=largest_tiling(trained))


def _scale(
    trained: TrainedGenerator, slide: Slide, model_mpp: float | None
) -> tuple[float, tuple[str, ...]]:
    """Return the downsample at which the slide has the model's pixel size, and a word on it."""
    wanted = model_mpp or trained.mpp
    if wanted is None:
        return 1.0, (
            f"the model does not say at which µm/px it was trained; the slide is taken at its own "
            f"{slide.mpp:g}. Give --model-mpp where that is not the same.",
        )
    downsample = wanted / slide.mpp
    if downsample * MOST_ENLARGED < 1:
        raise UsageError(
            f"{slide.path} has {slide.mpp:g} µm/px and the model was trained at {wanted:g}: there is "
            "nothing to make such detail of. Give the true values with --mpp and --model-mpp."
        )
    if abs(downsample - 1) <= SAME_MPP:
        return 1.0, ()
    return downsample, (
        f"the slide has {slide.mpp:g} µm/px and the model was trained at {wanted:g}: resampled, and "
        f"the output has {wanted:g} µm/px",
    )


def _tissue(slide: Slide) -> TissueMap:
    """Return where the slide shows tissue, with a margin."""
    found = TissueMap.of(slide)
    if not found.mask.any():
        raise UsageError(
            f"no tissue found on {slide.path}; add --everywhere to translate all of it"
        )
    return found.grown(MARGIN_UM / slide.mpp)


def _key(
    request: TranslateRequest, slide: Slide, trained: TrainedGenerator, spec: PyramidSpec
) -> str:
    """Return a hash of all that the result depends on."""
    return settings_hash(
        content_hash(slide.path),
        content_hash(trained.source),
        [slide.mpp, spec.mpp, spec.format, spec.tile, spec.quality, request.settings.everywhere],
        [trained.device.type, trained.arithmetic, *filter(None, [trained.stain])],
    )


def _finished(request: TranslateRequest, key: str) -> bool:
    """Return whether the result is there already; otherwise record what will make it.

    Raises :class:`UsageError` where the file is there and something else made it. The record is
    written first and the result appears whole, so that a result with the record is finished.
    """
    record = request.out.with_name(f"{request.out.name}.json")
    about = read_json(record, UsageError) if record.exists() else {}
    if request.out.exists():
        if isinstance(about, dict) and about.get("key") == key:
            return True
        made = "by another model, of another slide or with other settings"
        known = isinstance(about, dict) and about.get("format") == FORMAT
        raise UsageError(
            f"{request.out} is there already, made {made if known else 'by something else'}; "
            "name another file with --out, or remove it"
        )
    described = {"format": FORMAT, "key": key, "model": request.checkpoint, "slide": request.slide}
    write_json(record, described)
    return False


def _store(request: TranslateRequest, key: str) -> Path:
    """Return the folder of finished units; one that belongs to other inputs is emptied."""
    folder = request.out.with_name(f".{request.out.name}.units")
    if folder.is_dir() and not (folder / key).exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / key).touch()
    return folder


def _units(work: _Work, store: Path, progress: Progress) -> Iterator[EncodedUnit]:
    """Yield all units in order: stored ones, translated ones, blank ones.

    Tiles are read and units encoded by other threads, whatever unit they belong to, so that the
    generator never waits while there is work.
    """
    units = [
        (box, work.tiles(box), store / f"{number:06d}.npz")
        for number, box in enumerate(unit_boxes(work.spec))
    ]
    total = sum(len(tiles) for _, tiles, _ in units)
    missing = [tile for _, tiles, path in units if not path.exists() for tile in tiles]
    done = 0
    ahead: deque[Future[EncodedUnit]] = deque()
    threads = min(usable_cores(), MOST_THREADS)
    with ThreadPoolExecutor(threads) as reading, ThreadPoolExecutor(threads) as encoding:
        sources = in_order(reading, work.prepare, missing, READ_AHEAD)
        generated = generate_tiles(work.trained, sources)
        for box, tiles, path in units:
            if path.exists():
                ahead.append(encoding.submit(_load, path, box))
                done += len(tiles)
            else:
                image = np.full((box.height, box.width, 3), 255, np.uint8)
                for tile in tiles:
                    here = Box(tile.x - box.x, tile.y - box.y, tile.width, tile.height)
                    image[here.slices()] = next(generated)
                    done += 1
                    progress("translate", done, total)
                ahead.append(
                    encoding.submit(_encoded, work.spec, image, box, path if tiles else None)
                )
            progress("translate", done, total)
            if len(ahead) > threads:
                yield ahead.popleft().result()
        for unit in ahead:
            yield unit.result()


def _encoded(spec: PyramidSpec, image: Image, box: Box, path: Path | None) -> EncodedUnit:
    """Encode a unit, and keep it in a file where one is named."""
    unit = encode_unit(spec, image, box)
    if path is not None:
        _save(path, unit)
    return unit


def _save(path: Path, unit: EncodedUnit) -> None:
    """Keep a finished unit."""
    arrays = {"top": unit.top}
    for level, tiles in enumerate(unit.tiles):
        arrays[f"lengths_{level}"] = np.array([len(tile) for tile in tiles])
        arrays[f"tiles_{level}"] = np.frombuffer(b"".join(tiles), np.uint8)
    with written_whole(path) as part:
        np.savez(part, **arrays)  # type: ignore[arg-type]


def _load(path: Path, box: Box) -> EncodedUnit:
    """Return a unit that was kept."""
    with np.load(path, allow_pickle=False) as stored:
        levels = []
        for level in range(sum(name.startswith("lengths_") for name in stored)):
            ends = np.cumsum(stored[f"lengths_{level}"])
            data = stored[f"tiles_{level}"].tobytes()
            starts = [0, *ends[:-1]]
            levels.append(tuple(data[a:b] for a, b in zip(starts, ends, strict=True)))
        return EncodedUnit(box, tuple(levels), stored["top"])


def output_path(out: Path, format_: ImageFormat) -> Path:
    """Return ``out`` with the suffix of its format, where it has none.

    Raises :class:`registration.errors.OutputError` where the name says another format.
    """
    endings = NAMED[format_]
    if suffix_of(out) in endings:
        return out
    if suffix_of(out):
        raise OutputError(
            f"--out {out} is no name for the format {format_}: name a file in {endings[0]}, or give "
            "another --format"
        )
    return out.with_name(out.name + SUFFIXES[format_]) if out.name else out
