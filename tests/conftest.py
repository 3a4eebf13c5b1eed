"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

if TYPE_CHECKING:
    from benchmarks.browser import Browser

# Two processes run tests on two cores; and a child that was forked from a process whose OpenMP has
# started threads waits for them for ever.
os.environ["OMP_NUM_THREADS"] = "1"

# What is printed depends on neither the terminal of whoever runs the tests nor on their settings.
os.environ["COLUMNS"] = "80"
for _name in [*os.environ]:
    if _name in ("FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE") or _name.startswith("BCI_"):
        del os.environ[_name]

# The same examples in every run, however long one takes on a busy machine.
settings.register_profile(
    "alike", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("alike")

WINDOWS = "tests/napari_plugin/"
ON_GPU = "tests/training/test_gpu.py"
ENDED = pytest.StashKey[int]()
REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real slides, landmarks and patches; they are never part of this repository."""
    if not REAL_DATA.is_dir():
        pytest.skip("real slides are not at hand: no shared/data folder beside the checkout")
    return REAL_DATA


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium, one for all tests of pages."""
    # Needs dask's web sockets, which a machine that only trains does without.
    from benchmarks.browser import Browser, find_chromium

    if find_chromium() is None:
        pytest.skip("no Chromium on this machine to open pages in (.ci/system-packages gui)")
    with Browser() as opened:
        yield opened


SCN_MPP = 0.5
_SCN = """<?xml version="1.0"?>
<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><collection name="glass"
 sizeX="{glass_x}" sizeY="{glass_y}">
<image name="macro"><creationInfo/><device model="m"/><pixels sizeX="{mw}" sizeY="{mh}">
<dimension sizeX="{mw}" sizeY="{mh}" r="0" ifd="0"/></pixels>
<view sizeX="{glass_x}" sizeY="{glass_y}" offsetX="0" offsetY="0" spacingZ="0"/>
<scanSettings><objectiveSettings><objective>1.25</objective></objectiveSettings>
<illuminationSettings><illuminationSource>brightfield</illuminationSource></illuminationSettings>
</scanSettings></image>
<image name="scan"><creationInfo/><device model="m"/><pixels sizeX="{w}" sizeY="{h}">
<dimension sizeX="{w}" sizeY="{h}" r="0" ifd="1"/></pixels>
<view sizeX="{x}" sizeY="{y}" offsetX="{ox}" offsetY="{oy}" spacingZ="0"/>
<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings>
<illuminationSettings><illuminationSource>brightfield</illuminationSource></illuminationSettings>
</scanSettings></image></collection></scn>
"""


def _write_scn(
    path: Path, scanned: NDArray[np.uint8], origin: tuple[int, int], glass: tuple[int, int]
) -> Path:
    """Write pixels that were scanned at ``origin`` of a glass, ``glass`` (width, height) in px."""
    nm = round(SCN_MPP * 1000)
    height, width = scanned.shape[:2]
    macro = np.full((64, round(64 * glass[0] / glass[1]), 3), 230, np.uint8)
    text = _SCN.format(
        glass_x=glass[0] * nm,
        glass_y=glass[1] * nm,
        mw=macro.shape[1],
        mh=macro.shape[0],
        w=width,
        h=height,
        x=width * nm,
        y=height * nm,
        ox=origin[0] * nm,
        oy=origin[1] * nm,
    )
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for number, image in enumerate((macro, scanned)):
            per_cm = 1e4 / SCN_MPP if number else 1e4 / (SCN_MPP * glass[0] / macro.shape[1])
            file.write(
                image,
                photometric="rgb",
                tile=(256, 256),
                compression="jpeg",
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                description=text if number == 0 else None,
                metadata=None,
            )
    return path


@pytest.fixture(scope="session")
def write_scn() -> Callable[..., Path]:
    """Writer of Leica SCN files whose image is larger than what was scanned of the glass."""
    return _write_scn


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where tests run side by side (``-n 2``), a file's tests share a process and so their slides.

    All files that open windows share one: napari's windows would take the mouse of the one display
    from each other. Tests on a GPU share nothing: each compiles for itself. (xdist's own groups do
    nothing under pytest 9.2, which keeps a test's name where xdist 3.8 does not look.)
    """
    from xdist.scheduler import LoadFileScheduling

    class OneWindow(LoadFileScheduling):  # type: ignore[misc]  # xdist is not typed
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            if file == ON_GPU:
                return nodeid
            return WINDOWS if file.startswith(WINDOWS) else file

    return OneWindow(config, log)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how the session ended, for :func:`pytest_unconfigure`."""
    session.config.stash[ENDED] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End without taking the interpreter apart, once everything is said and cleaned up.

    A process that has loaded Qt, torch, elastix and dask together now and then crashes while Python
    3.11 destroys its modules (a C extension asks for an object of a type that is gone), which would
    turn a session of passed tests into a failed one.
    """
    if ENDED in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[ENDED])
