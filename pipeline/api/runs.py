"""Registering a pair from Python, and what can be done with the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike
from pydantic_core import CoreSchema, core_schema

from pipeline.api.arguments import Count, checked
from pipeline.api.reporting import ShowProgress, reporting
from pipeline.stages.export import export_transform
from pipeline.stages.register import RegisterRequest, run_request
from pipeline.stages.settings import RegisterSettings
from registration.geometry import Points, as_points
from registration.registered_slide import RegisteredSlide
from registration.result import REPORT_NAME, Registration


class Run(Registration):
    """A finished registration: its verdict, its figures, and the way between the two slides."""

    def __repr__(self) -> str:
        return f"<Run {self.folder}: {self.verdict}>"

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        """As an argument it is what was loaded, never made from plain values."""
        return core_schema.is_instance_schema(cls)

    @property
    def report(self) -> Path:
        """The page to read."""
        return self.folder / REPORT_NAME

    def to_ihc(self, he_points: ArrayLike) -> Points:
        """Return the places on the IHC slide of ``(N, 2)`` points of the H&E slide.

        Both in level-0 pixels, ``(x, y)``. Raises :class:`registration.errors.LandmarkError` for
        an array of another shape.
        """
        return self._to_fixed(he_points) if self.moving == "he" else self._to_moving(he_points)

    def to_he(self, ihc_points: ArrayLike) -> Points:
        """Return the places on the H&E slide of ``(N, 2)`` points of the IHC slide, likewise."""
        return self._to_moving(ihc_points) if self.moving == "he" else self._to_fixed(ihc_points)

    def registered_slide(self) -> RegisteredSlide:
        """Open the warped slide, to be read like any slide of OpenSlide's; no file is needed.

        Raises :class:`registration.errors.SlideError` where the raw slide is gone.
        """
        fixed = self.fixed
        return RegisteredSlide(self.moved.open(self.folder), self.chain, fixed.size, fixed.mpp)

    @checked
    def export(self, transform: str, out: str | Path | None = None) -> Path:
        """Write the whole transform for ``itk``, ``ome-zarr`` or ``qupath``; return its folder.

        Without ``out`` it lies in the run folder. Raises :class:`registration.errors.BciError` for
        another name, and for a folder that cannot be written or holds something else.
        """
        return export_transform(self, transform, None if out is None else Path(out)).folder

    def _to_moving(self, points: ArrayLike) -> Points:
        return self.chain(as_points(points))

    def _to_fixed(self, points: ArrayLike) -> Points:
        return self.chain.inverse(as_points(points))


@checked
def register(
    he: str | Path,
    ihc: str | Path,
    out: str | Path,
    *,
    landmarks: str | Path | None = None,
    truth: str | Path | None = None,
    mpp_he: float | None = None,
    mpp_ihc: float | None = None,
    overwrite: bool = False,
    workers: Count | None = None,
    scheduler: str | None = None,
    progress: ShowProgress = True,
    **settings: Any,
) -> Run:
    """Register an H&E and an IHC slide into the folder ``out``, or take up what is there.

    ``landmarks`` are picked pairs, ``truth`` pairs that only score; ``settings`` are those of
    ``docs/settings.md``: ``recipe``, ``moving``, ``channel``, ``blocks``, ``image``. Raises
    :class:`registration.errors.BciError` with the words of the command line.
    """
    request = RegisterRequest(
        he=Path(he),
        ihc=Path(ihc),
        out=Path(out),
        settings=RegisterSettings.of(settings),
        landmarks=None if landmarks is None else str(landmarks),
        truth=None if truth is None else str(truth),
        mpp_he=mpp_he,
        mpp_ihc=mpp_ihc,
        overwrite=overwrite,
    )
    with reporting(progress) as report:
        run_request(request, workers, scheduler, report)
    return Run.load(request.out)


@checked
def open_run(folder: str | Path) -> Run:
    """Return a finished registration; raises :class:`registration.errors.RunError`."""
    return Run.load(folder)
