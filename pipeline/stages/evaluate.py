"""What ``evaluate`` needs of slides: their nuclei, and whole virtual slides against real ones.

Both slides show the same frame, as a virtual slide that was made of a registered H&E slide and the real
IHC slide do. Their tissue is scored tile by tile, as the images of a dataset are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.report.drawing import backdrop, coloured, laid_over, legend
from registration.files.alone import one_at_a_time
from registration.files.outputs import check_folder
from registration.files.pictures import jpeg_uri
from registration.files.storage import content_hash, settings_hash
from registration.files.versions import version_of
from registration.files.words import counted
from registration.geometry import Box, Image
from registration.nuclei import can_show_nuclei, find_nuclei
from registration.slides.slide import Slide, open_slide
from registration.stains import slide_doubt
from registration.tissue import TissueMap
from training.data.images import ImageFile, Pixels
from training.data.pairs import PatchPair, spread_evenly
from training.evaluation.cases import draw_cases
from training.evaluation.controls import control_candidates
from training.evaluation.report import About, SlideMap, write_evaluation
from training.evaluation.run import PACKAGES
from training.evaluation.score_record import ScoreRecord
from training.evaluation.scoring import Candidate, Evaluation, Scoring, evaluate
from training.evaluation.summary import MODEL, REAL
from training.metrics.pathology import FoundNuclei
from training.settings.evaluate import EvaluateSettings

TILE_PX = 512
LEAST_TISSUE = 0.25
"""Tiles with less tissue on the real slide are left out."""

SAME_FRAME_PX = 2.0
"""Slides of one frame differ by no more, at their own pixel sizes."""

CONTROLS = ("blur8", "mean", "moved", REAL)
MAP_PX = 900
MAP_OPACITY = 0.75
MAPS = (("dab_error", 0.3), ("dab_iou", 1.0), ("nuclei_kept", 1.0), ("h_score_off", 100.0))
"""What is drawn, and the end of its scale."""
RECORD_NAME = "scores.jsonl"


def nuclei_of(image: Pixels, mpp: float) -> FoundNuclei | None:
    """Return the nuclei of an image of ``mpp`` µm per pixel; ``None`` where it is too coarse."""
    if not can_show_nuclei(mpp):
        return None
    found = find_nuclei(image, mpp)
    return FoundNuclei(found.points * mpp, found.sure)


@dataclass(frozen=True)
class SlideEvaluationRequest:
    """A virtual slide and the real one of the same frame."""

    virtual: Path
    real: Path
    out: Path
    settings: EvaluateSettings = EvaluateSettings()


@dataclass(frozen=True, kw_only=True)
class TileImage(ImageFile):
    """One tile of a slide, in pixels of its downsampled frame."""

    slide: Slide
    box: Box
    downsample: float

    def read(self) -> Pixels:
        """Return the tile's pixels. Raises :class:`registration.errors.SlideError`."""
        return self.slide.read_scaled(self.box, self.downsample)


@dataclass(frozen=True, eq=False)
class _Frame:
    """Both slides at one pixel size, and the tiles with tissue."""

    virtual: Slide
    real: Slide
    mpp: float
    boxes: tuple[Box, ...]

    @property
    def pairs(self) -> tuple[PatchPair, ...]:
        """One pair per tile; there is no H&E image."""
        found = []
        for box in self.boxes:
            tile = self._tile(self.real, box)
            found.append(PatchPair(f"{box.x}_{box.y}", tile, tile, mpp=self.mpp))
        return tuple(found)

    def model(self) -> Candidate:
        """Return the virtual slide as what is scored."""
        tiles = {f"{box.x}_{box.y}": self._tile(self.virtual, box) for box in self.boxes}
        note = str(self.virtual.path)
        return Candidate(MODEL, "virtual", note, lambda pair, _, __: tiles[pair.name].read())

    def _tile(self, slide: Slide, box: Box) -> TileImage:
        return TileImage(slide.path, slide=slide, box=box, downsample=self.mpp / slide.mpp)


@one_at_a_time(lambda request, *_: request.out)
def evaluate_slide(
    request: SlideEvaluationRequest, on_image: Callable[[int, int], None]
) -> tuple[Evaluation, About]:
    """Score a virtual slide, and write what an evaluation of images writes, with maps.

    A killed run goes on where it stopped. Raises :class:`UsageError` for slides of different frames and
    for a slide without tissue, and what opening slides raises.
    """
    with _opened(request) as slides:
        frame = _frame(request, *slides)
        scoring = Scoring(
            request.settings.protocol, request.settings.shift_px, nuclei=nuclei_of, mpp=frame.mpp
        )
        pairs = frame.pairs
        controls = [c for c in control_candidates((), pairs) if c.key in CONTROLS]
        record = ScoreRecord(request.out / RECORD_NAME, _key(request, frame))
        evaluation = evaluate(
            pairs,
            (frame.model(), *controls),
            scoring,
            lambda done: on_image(done, len(pairs)),
            record,
        )
        about = _about(request, frame)
        maps = slide_maps(evaluation, frame.real, frame.boxes, frame.mpp / frame.real.mpp)
        write_evaluation(request.out, evaluation, about, draw_cases(evaluation, scoring), maps)
    record.remove()
    return evaluation, about


def plan_slide_evaluation(request: SlideEvaluationRequest) -> dict[str, object]:
    """Return what :func:`evaluate_slide` would score; raises what it would refuse."""
    with _opened(request) as slides:
        frame = _frame(request, *slides)
    return {
        "virtual": str(request.virtual),
        "real": str(request.real),
        "tiles": f"{len(frame.boxes)} of {TILE_PX} px with tissue",
        "mpp": frame.mpp,
        "protocol": request.settings.protocol,
        "out": str(request.out),
    }


@contextmanager
def _opened(request: SlideEvaluationRequest) -> Iterator[tuple[Slide, Slide]]:
    """Open both slides. Raises :class:`UsageError` for settings that say nothing of slides."""
    settings = request.settings
    foreign = [
        name
        for name in ("as_released", "lpips", "features", "save_images")
        if getattr(settings, name) not in (None, False)
    ]
    if foreign:
        raise UsageError(f"--slide goes without --{foreign[0].replace('_', '-')}")
    check_folder(request.out, [], [request.virtual, request.real])
    with (
        open_slide(request.virtual, settings.mpp) as virtual,
        open_slide(request.real, settings.mpp) as real,
    ):
        yield virtual, real


def _frame(request: SlideEvaluationRequest, virtual: Slide, real: Slide) -> _Frame:
    """Lay out the tiles at the coarser of both pixel sizes."""
    mpp = max(virtual.mpp, real.mpp)
    sides = [
        (slide.size.width * slide.mpp, slide.size.height * slide.mpp) for slide in (virtual, real)
    ]
    if max(abs(a - b) for a, b in zip(*sides, strict=True)) > SAME_FRAME_PX * mpp:
        shown = " and ".join(f"{width:.0f} x {height:.0f} µm" for width, height in sides)
        raise UsageError(
            f"{virtual.path} and {real.path} do not show the same frame: {shown}. Translate the "
            "registered H&E slide (registered.tif of the run), and compare it with that run's IHC slide."
        )
    downsample = mpp / real.mpp
    whole = Box.of(real.size.downsampled(downsample))
    tissue = TissueMap.of(real)
    scale = downsample / tissue.downsample
    boxes = [
        box
        for box in whole.tiles(TILE_PX)
        if box.width == box.height == TILE_PX and _share(tissue.mask, box, scale) >= LEAST_TISSUE
    ]
    if not boxes:
        raise UsageError(f"no tile of {TILE_PX} px with tissue on {real.path}")
    return _Frame(virtual, real, mpp, spread_evenly(boxes, request.settings.images))


def _share(mask: NDArray[np.bool_], box: Box, scale: float) -> float:
    """Return the share of a tile that is tissue."""
    rows = slice(int(box.y * scale), max(int(box.y * scale) + 1, int(box.bottom * scale)))
    columns = slice(int(box.x * scale), max(int(box.x * scale) + 1, int(box.right * scale)))
    part = mask[rows, columns]
    return float(part.mean()) if part.size else 0.0


def _key(request: SlideEvaluationRequest, frame: _Frame) -> str:
    """Return a hash of all that the scores depend on."""
    settings = request.settings
    return settings_hash(
        *(content_hash(slide.path) for slide in (frame.virtual, frame.real)),
        [frame.mpp, settings.protocol, settings.shift_px, [(b.x, b.y) for b in frame.boxes]],
        version_of("bci-pipeline"),
    )


def _about(request: SlideEvaluationRequest, frame: _Frame) -> About:
    return About(
        model=str(request.virtual),
        dataset=str(request.real),
        split="whole slide",
        protocol=request.settings.protocol,
        notes=(
            f"{counted(len(frame.boxes), 'tile')} of {TILE_PX} px at {frame.mpp:g} µm/px with at least "
            f"{100 * LEAST_TISSUE:.0f} % tissue",
            *frame.virtual.warnings,
            *frame.real.warnings,
            *filter(None, [slide_doubt(frame.real, "IHC")]),
        ),
        settings={
            "virtual": str(request.virtual),
            "real": str(request.real),
            "µm per pixel": frame.mpp,
            "shift_px": request.settings.shift_px,
            **{name: version_of(name) for name in PACKAGES},
        },
    )


def slide_maps(
    evaluation: Evaluation, real: Slide, boxes: tuple[Box, ...], downsample: float
) -> tuple[SlideMap, ...]:
    """Draw some metrics of the virtual slide, tile by tile, over the real one."""
    thumbnail, small = real.thumbnail(MAP_PX)
    ground = backdrop(thumbnail)
    own, true = evaluation.values[MODEL], evaluation.values[REAL]
    if "h_score" not in own:
        return ()
    shown = {**own, "h_score_off": own["h_score"] - true["h_score"]}
    labels = {metric.key: metric for metric in evaluation.metrics}
    found = []
    for key, highest in MAPS:
        if key not in shown:
            continue
        signed = key == "h_score_off"
        title = "H-score, generated minus real" if signed else labels[key].label
        unit = "" if signed else labels[key].unit
        low, palette = (-highest, "change") if signed else (0.0, "amount")
        picture = _over(ground, shown[key], boxes, downsample / small, (low, highest), palette)
        digits = 0 if highest > 10 else 1
        scale = legend(low, highest, unit, palette, digits)  # type: ignore[arg-type]
        found.append(SlideMap(title, jpeg_uri(picture), scale))
    return tuple(found)


def _over(
    ground: Image,
    values: NDArray[np.float64],
    boxes: tuple[Box, ...],
    scale: float,
    ends: tuple[float, float],
    palette: str,
) -> Image:
    """Colour every tile whose value is defined."""
    height, width = ground.shape[:2]
    colours, opacity = np.zeros_like(ground), np.zeros((height, width), np.float32)
    for value, box in zip(values, boxes, strict=True):
        if not np.isfinite(value):
            continue
        colour = coloured(np.array([[value]]), *ends, palette)[0, 0]  # type: ignore[arg-type]
        corner = (round(box.x * scale), round(box.y * scale))
        opposite = (round(box.right * scale) - 1, round(box.bottom * scale) - 1)
        cv2.rectangle(colours, corner, opposite, colour.tolist(), -1)
        cv2.rectangle(opacity, corner, opposite, MAP_OPACITY, -1)
    return laid_over(ground, colours, opacity)
