"""What of this machine will work: each part is tried for real, in a process of its own.

A library that is missing a system file aborts the whole process that loads it; tried apart, it is
one line of the report.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Literal

from registration.children import environment, python
from registration.execution import usable_cores
from registration.files.commands import install_extra, pip
from registration.files.memory import free_memory, usable_memory
from registration.files.versions import version_of

Status = Literal["works", "limited", "fails"]

PROBES = {
    "slides": "from registration.slides.vendors import library_version; print(library_version())",
    "elastix": "from registration.nonrigid.elastix import warm_up; warm_up()",
    "images": "import cv2, numpy, imagecodecs; "
    "imagecodecs.jpeg8_encode(numpy.zeros((16, 16, 3), 'u1')); print(cv2.__version__)",
    "cluster": "import distributed; print(distributed.__version__)",
    "torch": "import torch; c = torch.cuda; print(torch.__version__); "
    "print(*(f'{c.get_device_name(i)}, {c.get_device_properties(i).total_memory / 2**30:.0f} GiB' "
    "for i in range(c.device_count() if c.is_available() else 0)), sep='\\n'); "
    "from training.probes import gpu_findings; "
    "[print(f'without {what} ({why})') for what, why in gpu_findings().items() if why]",
    "qt": "from qtpy import API_NAME, QT_VERSION; from qtpy.QtWidgets import QApplication; "
    "QApplication([]); print(API_NAME, QT_VERSION)",
}
"""Code that fails where something cannot work, and prints what it found."""

PROBE_SECONDS = 180
UNANSWERED = f"no answer within {PROBE_SECONDS} seconds"
BUSY_REMEDY = "ask again when this machine is less busy; if it stays so, install again"
PACKAGES = [
    "bci-pipeline",
    "numpy",
    "scipy",
    "openslide-python",
    "openslide-bin",
    "itk-elastix",
    "itk-core",
    "tifffile",
    "imagecodecs",
    "simplejpeg",
    "zarr",
    "opencv-python-headless",
    "opencv-python",
    "dask",
    "distributed",
    "torch",
    "torchmetrics",
    "napari",
    "PyQt6",
    "PySide6",
]
OURS = ("bci_pipeline", "pipeline", "registration", "training", "napari_plugin")
LEAST_MEMORY = 2 * 2**30
LEAST_DISK = 2 * 2**30


@dataclass(frozen=True)
class Check:
    """One thing a user may want to do, and whether it will work here."""

    name: str
    status: Status
    detail: str
    remedy: str = ""
    core: bool = False
    """Whether registration needs it."""


@dataclass(frozen=True)
class Probed:
    """What came of one probe."""

    ok: bool
    output: str
    """What it printed; where it failed, its last line of complaint."""


@dataclass(frozen=True)
class Machine:
    """What the checks are made from."""

    packages: Mapping[str, str]
    """Version of each package that is installed."""
    cores: int
    memory: int
    """Bytes this process may use."""
    free_memory: int
    free_disk: int
    """Bytes in the folder asked about."""
    folder: Path
    writable: bool
    display: bool
    foreign: tuple[Path, ...] = ()
    """What has the name of a package of ours, in the current folder or where Python looks."""


@dataclass(frozen=True)
class Diagnosis:
    """The whole report."""

    machine: Machine
    checks: tuple[Check, ...]

    @property
    def can_register(self) -> bool:
        """Whether the core, registration, works."""
        return not any(check.core and check.status == "fails" for check in self.checks)


def diagnose(folder: Path) -> Diagnosis:
    """Look at the machine and try everything; results would be written to ``folder``."""
    machine = look_around(folder)
    with ThreadPoolExecutor(max_workers=2) as pool:
        probed = dict(zip(PROBES, pool.map(probe, PROBES), strict=True))
    return Diagnosis(machine, judge(machine, probed))


def look_around(folder: Path) -> Machine:
    """Collect what can be known without trying."""
    return Machine(
        packages=installed(),
        cores=usable_cores(),
        memory=usable_memory(),
        free_memory=free_memory(),
        free_disk=shutil.disk_usage(folder).free,
        folder=folder,
        writable=_is_writable(folder),
        display=_has_display(),
        foreign=tuple(foreign([str(folder), *sys.path], Path(__file__).parents[1])),
    )


def foreign(places: Sequence[str], home: Path) -> list[Path]:
    """Return modules and packages in ``places`` that are called like ours, which are in ``home``."""
    found = []
    for place in dict.fromkeys(Path(place or ".").resolve() for place in places):
        if place == home.resolve() or not place.is_dir():
            continue
        for name in OURS:
            spec = PathFinder.find_spec(name, [str(place)])
            if spec is not None and spec.origin is not None:
                found.append(Path(spec.origin))
    return found


def probe(name: str) -> Probed:
    """Run one probe in a fresh Python."""
    own = {key: value for key, value in environment().items() if not key.startswith("QT_QPA")}
    if not _has_display():
        own["QT_QPA_PLATFORM"] = "offscreen"
    try:
        done = subprocess.run(
            python("-c", PROBES[name]),
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            env=own,
        )
    except subprocess.TimeoutExpired:
        return Probed(False, UNANSWERED)
    if done.returncode == 0:
        return Probed(True, done.stdout.strip())
    complaint = [line for line in done.stderr.splitlines() if line.strip()]
    return Probed(False, complaint[-1].strip() if complaint else f"ended with {done.returncode}")


def installed() -> dict[str, str]:
    """Return the version of each of our packages that is installed."""
    found = {name: version_of(name, "") for name in PACKAGES}
    return {name: version for name, version in found.items() if version}


def judge(machine: Machine, probed: Mapping[str, Probed]) -> tuple[Check, ...]:
    """Say what works: pure, from what was found. What did not answer may work."""
    return tuple(
        replace(check, status="limited", remedy=BUSY_REMEDY)
        if UNANSWERED in check.detail
        else check
        for check in _judged(machine, probed)
    )


def _judged(machine: Machine, probed: Mapping[str, Probed]) -> tuple[Check, ...]:
    reinstall = install_extra()
    return (
        _needed("read slides", probed["slides"], "OpenSlide ", reinstall),
        _needed("register (elastix)", probed["elastix"], "a test registration ran", reinstall),
        _images(machine, probed["images"]),
        _memory(machine),
        _folder(machine),
        _names(machine),
        _workers(machine, probed["cluster"]),
        _training(probed["torch"]),
        _picker(machine, probed["qt"]),
    )


def _needed(name: str, found: Probed, says: str, remedy: str) -> Check:
    """Judge a part that registration cannot do without."""
    if not found.ok:
        return Check(name, "fails", found.output, remedy, core=True)
    return Check(name, "works", f"{says}{found.output}", core=True)


def _images(machine: Machine, found: Probed) -> Check:
    """Judge OpenCV and the JPEG encoder; two OpenCVs overwrite each other's files."""
    name = "write images"
    headless, full = "opencv-python-headless", "opencv-python"
    if headless in machine.packages and full in machine.packages:
        remedy = f"{pip('uninstall', '-y', full, headless)} && {pip('install', headless)}"
        detail = f"{full} and {headless} are both installed and overwrite each other"
        return Check(name, "limited" if found.ok else "fails", detail, remedy, core=True)
    return _needed(name, found, "OpenCV ", pip("install", "--force-reinstall", headless))


def _memory(machine: Machine) -> Check:
    """Judge memory."""
    detail = f"{_gib(machine.free_memory)} free of {_gib(machine.memory)}"
    if machine.free_memory >= LEAST_MEMORY:
        return Check("memory", "works", detail)
    remedy = "close other programs, or register with --workers 1"
    return Check("memory", "limited", f"{detail}; a 20,000 px pair needs 2 GiB", remedy)


def _folder(machine: Machine) -> Check:
    """Judge the folder that results go to."""
    if not machine.writable:
        detail = f"{machine.folder} cannot be written to"
        return Check("write here", "fails", detail, "change to another folder, or give --out")
    detail = f"{_gib(machine.free_disk)} free in {machine.folder}"
    if machine.free_disk < LEAST_DISK:
        return Check("write here", "limited", detail, "make room, or give --out on another disk")
    return Check("write here", "works", detail)


def _names(machine: Machine) -> Check:
    """Judge files of others that are called like packages of ours."""
    if not machine.foreign:
        return Check("names of modules", "works", "nothing is called like a package of ours")
    detail = f"called like a package of ours: {', '.join(map(str, machine.foreign))}"
    remedy = "commands and their workers do not mind; a script of yours beside it may: rename it"
    return Check("names of modules", "limited", detail, remedy)


def _workers(machine: Machine, found: Probed) -> Check:
    """Judge running on several cores or machines."""
    if not found.ok:
        remedy = f"{pip('install', 'distributed')}; until then use --workers 1"
        return Check("workers", "limited", found.output, remedy)
    return Check("workers", "works", f"{machine.cores} cores, dask.distributed {found.output}")


def _training(found: Probed) -> Check:
    """Judge training and translation."""
    if not found.ok:
        remedy = f"{install_extra('train')}; registration and patches do not need it"
        return Check("train", "fails", found.output, remedy)
    torch_version, *devices = found.output.splitlines()
    lacking = [line for line in devices if line.startswith("without ")]
    devices = [line for line in devices if line.strip() and line not in lacking]
    if devices and lacking:
        return Check(
            "train",
            "limited",
            f"torch {torch_version}; {'; '.join([*devices, *lacking])}",
            "training does without by itself; compiled networks need Triton, a C compiler and "
            "Python's headers",
        )
    if devices:
        return Check("train", "works", f"torch {torch_version}; {'; '.join(devices)}")
    return Check(
        "train",
        "limited",
        f"torch {torch_version} sees no GPU: enough for the demo, not for a whole dataset",
        "train on a machine with an NVIDIA GPU; registration and patches need none",
    )


def _picker(machine: Machine, found: Probed) -> Check:
    """Judge the napari windows."""
    name = "pick and review"
    if "napari" not in machine.packages:
        return Check(name, "fails", "napari is not installed", install_extra("napari"))
    if not found.ok:
        libraries = "apt-get install libegl1 libopengl0 libxcb-cursor0"
        remedy = f"{install_extra('napari')}; on Debian: {libraries}"
        return Check(name, "fails", f"Qt does not start: {found.output}", remedy)
    detail = f"napari {machine.packages['napari']}, {found.output}"
    if not machine.display:
        remedy = "work at a desktop, by ssh -X, or with xvfb-run; registration needs no display"
        return Check(name, "limited", f"{detail}, but there is no display", remedy)
    return Check(name, "works", detail)


def _is_writable(folder: Path) -> bool:
    """Return whether a file can be made in ``folder``, by making one."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _has_display() -> bool:
    """Return whether windows can be shown."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _gib(count: int) -> str:
    """Write bytes as GiB."""
    return f"{count / 2**30:.1f} GiB"
