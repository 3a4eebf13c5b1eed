"""Slides written to disk, in this process or in several."""

from __future__ import annotations

import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from registration.children import end_with_spawner, spawning
from registration.errors import SynthError
from registration.geometry import Image
from registration.synth.glass import painter_of, slide_size
from registration.synth.ndpi import NdpiSpec, write_ndpi
from registration.synth.settings import Section, SynthSettings

Progress = Callable[[int], None]
"""Called with the number of pixels done since the last call."""

MACRO_SHAPE = (404, 1158)
LABEL_WIDTH = 330
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class SlideJob:
    """One slide to write."""

    settings: SynthSettings
    section: Section
    path: Path

    @property
    def pixels(self) -> int:
        """Level-0 pixels of the slide."""
        size = slide_size(self.settings, self.section)
        return size.width * size.height


def render_slides(
    jobs: Sequence[SlideJob], workers: int = 1, progress: Progress | None = None
) -> None:
    """Write all slides; with more than one worker, in that many fresh processes.

    Each slide needs about 350 MB at 20,480 px. The files do not depend on the number of workers.
    """
    report = progress or _ignore
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            render_slide(job, report)
        return
    _render_in_processes(jobs, workers, report)


def _render_in_processes(jobs: Sequence[SlideJob], workers: int, report: Progress) -> None:
    """Write slides in fresh processes; an interrupt or an error stops them at their next band."""
    with spawning() as context:
        try:
            reports, stop = context.Queue(), context.Event()
        except OSError as error:  # they need semaphores, which some containers have no place for
            raise SynthError(
                f"processes cannot be started here ({error.strerror}, most likely in /dev/shm): "
                "give --workers 1"
            ) from error
        pool = ProcessPoolExecutor(
            min(workers, len(jobs)), context, initializer=_start_worker, initargs=(reports, stop)
        )
        pending: set[Future[None]] = {pool.submit(_render_in_worker, job) for job in jobs}
    try:
        while pending:
            done, pending = wait(pending, timeout=POLL_S, return_when=FIRST_EXCEPTION)
            _drain(reports, report)
            for future in done:
                future.result()
    except BrokenProcessPool as error:
        raise SynthError(
            "a process that renders slides was killed, most likely for lack of memory; "
            "use fewer workers or a smaller size"
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    _drain(reports, report)


def render_slide(job: SlideJob, progress: Progress) -> None:
    """Write one slide as NDPI."""
    painter = painter_of(job.settings, job.section)

    def bands() -> Iterator[Image]:
        for band in painter.bands():
            yield band
            progress(band.shape[0] * band.shape[1])

    label = "H&E" if job.section == "he" else job.settings.stain
    spec = NdpiSpec(painter.size, job.settings.mpp_of(job.section))
    write_ndpi(job.path, spec, bands(), lambda small: macro_of(small, label))


def macro_of(slide: Image, label: str) -> Image:
    """Return a picture of the whole glass: a label on the left, the section beside it."""
    height, width = MACRO_SHAPE
    macro = np.full((height, width, 3), 240, np.uint8)
    macro[12:-12, 12:LABEL_WIDTH] = (250, 249, 244)
    cv2.putText(macro, label, (60, 190), cv2.FONT_HERSHEY_DUPLEX, 1.8, (40, 40, 60), 2, cv2.LINE_AA)
    cv2.putText(
        macro, "synthetic", (62, 260), cv2.FONT_HERSHEY_DUPLEX, 1.1, (90, 90, 110), 1, cv2.LINE_AA
    )
    room = (width - LABEL_WIDTH - 60, height - 40)
    scale = min(room[0] / slide.shape[1], room[1] / slide.shape[0])
    size = (round(slide.shape[1] * scale), round(slide.shape[0] * scale))
    small = cv2.resize(slide, size, interpolation=cv2.INTER_AREA)
    top = (height - size[1]) // 2
    left = LABEL_WIDTH + (width - LABEL_WIDTH - size[0]) // 2
    macro[top : top + size[1], left : left + size[0]] = small
    return macro


def _ignore(pixels: int) -> None:
    """Report to nobody."""


def _drain(reports: Any, report: Progress) -> None:
    while True:
        try:
            report(reports.get_nowait())
        except queue.Empty:
            return


_shared: tuple[Any, Any] = (None, None)
"""The queue of progress and the event to stop at, in a worker process."""


def _start_worker(reports: Any, stop: Any) -> None:
    global _shared  # queues and events reach a spawned worker through its initialiser alone
    _shared = (reports, stop)
    end_with_spawner()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    cv2.setNumThreads(1)


def _render_in_worker(job: SlideJob) -> None:
    _report_from_worker(0)
    render_slide(job, _report_from_worker)


def _report_from_worker(pixels: int) -> None:
    reports, stop = _shared
    if stop.is_set():
        raise SynthError("stopped before the slide was whole")
    reports.put(pixels)
