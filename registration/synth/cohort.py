"""Several synthetic cases and the manifest that lists them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import yaml

from registration.errors import SynthError
from registration.files.alone import one_at_a_time
from registration.files.her2 import HER2_LEVELS, Her2
from registration.files.outputs import check_folder
from registration.files.storage import write_json, write_text
from registration.files.text import read_json
from registration.files.words import some
from registration.synth.case import SynthCase, write_truth
from registration.synth.deform import make_truth
from registration.synth.rendering import SlideJob, render_slides
from registration.synth.settings import Stain, SynthSettings

MANIFEST = "manifest.yaml"
RECORD = "synth.json"
BYTES_PER_PIXEL = 0.2
"""JPEG of quality 88 with its levels, 0.14 on drawn sections of 4,096 px."""
PATCH_PX = 512
"""In the manifest: half of the default, since drawn slides are small."""
CASE_FOLDER = re.compile(r"case\d{2,9}")
CASE_FILE = re.compile(
    rf"(({'|'.join(get_args(Stain))})/)?(case\d+_\w+\.ndpi|landmarks\.csv|truth\.csv|truth/.+|\..+\.part.*)"
)
"""What a case consists of, by its path within the folder; anything else in it is a person's."""


@dataclass(frozen=True, slots=True)
class CohortPlan:
    """Cases to write: copies of ``settings`` with consecutive seeds and the HER2 levels in turn."""

    settings: SynthSettings
    cases: int = 2
    her2: tuple[Her2, ...] = HER2_LEVELS
    cases_per_patient: int = 1
    stains: tuple[Stain, ...] = ()
    """Of the IHC slides of each case, which then share an H&E slide; empty for one of ``settings``."""

    def planned(self, folder: Path) -> list[tuple[str, SynthCase]]:
        """Return patient and case of every case and stain; cases of a patient share the HER2 level."""
        plan = []
        for number in range(self.cases):
            patient = number // self.cases_per_patient
            settings = replace(
                self.settings,
                seed=self.settings.seed + number,
                her2=self.her2[patient % len(self.her2)],
            )
            name = f"case{number + 1:02d}"
            for stain in self.stains or (settings.stain,):
                case = SynthCase(
                    name, replace(settings, stain=stain), folder / name, bool(self.stains)
                )
                plan.append((f"patient{patient + 1:02d}", case))
        return plan


@one_at_a_time(lambda folder, *_, **__: folder)
def write_cohort(
    folder: Path,
    plan: CohortPlan,
    *,
    workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> list[SynthCase]:
    """Write all cases and ``manifest.yaml``; cases that are already there whole are kept.

    ``progress`` gets the pixels drawn so far, and how many there are to draw. Raises
    :class:`SynthError` when ``folder`` holds anything else.
    """
    check_folder(folder)
    planned = plan.planned(folder)
    prepare_folder(folder, plan, overwrite)
    cases = [case for _, case in planned]
    missing = [case for case in cases if not case.is_complete()]
    for case in missing:
        case.own.mkdir(parents=True, exist_ok=True)
    jobs = jobs_of(missing)
    total, done = sum(job.pixels for job in jobs), 0

    def advance(pixels: int) -> None:
        nonlocal done
        done += pixels
        if progress is not None:
            progress(done, total)

    render_slides(jobs, workers, advance)
    for case in missing:
        write_truth(case)
    write_text(folder / MANIFEST, manifest_text(planned))
    return cases


def jobs_of(cases: Iterable[SynthCase]) -> list[SlideJob]:
    """Return the slides of some cases, each once: stains of a case share their H&E slide."""
    return list({job.path: job for case in cases for job in case.jobs()}.values())


def manifest_text(planned: Sequence[tuple[str, SynthCase]]) -> str:
    """Return the manifest of the cases, paths relative to it."""
    cases: list[dict[str, Any]] = []
    for patient, case in planned:
        base = case.folder.parent
        own = {
            **({"her2": case.settings.her2} if case.settings.stain == "HER2" else {}),
            "landmarks": case.landmarks.relative_to(base).as_posix(),
            "truth": case.truth.relative_to(base).as_posix(),
        }
        slide = case.ihc.relative_to(base).as_posix()
        if not cases or cases[-1]["id"] != case.name:
            he = case.he.relative_to(base).as_posix()
            cases.append({"id": case.name, "patient": patient, "he": he, "ihc": {}})
        if case.several:
            cases[-1]["ihc"][case.settings.stain] = {"slide": slide, **own}
        else:
            cases[-1] |= {"ihc": slide, **own}
    whole = {
        "name": "synthetic",
        "out": "results",
        "cases": cases,
        "patch": {"size": PATCH_PX},
    }
    return str(yaml.safe_dump(whole, sort_keys=False))


def prepare_folder(folder: Path, plan: CohortPlan, overwrite: bool = False) -> None:
    """Make ``folder`` ready: empty, a part of the same plan, or (``overwrite``) an older plan's.

    Raises :class:`SynthError` where it holds anything else, and changes nothing then.
    """
    replaced = replaced_cases(folder, plan, overwrite)
    if replaced:  # it would give new cases the HER2 levels of old ones, until the last one is drawn
        (folder / MANIFEST).unlink(missing_ok=True)
    for name in replaced:
        shutil.rmtree(folder / name, ignore_errors=True)
    names = sorted({case.name for _, case in plan.planned(folder)})
    write_json(folder / RECORD, {"plan": _described(plan), "cases": names})


def replaced_cases(folder: Path, plan: CohortPlan, overwrite: bool = False) -> list[str]:
    """Return the names of an older plan's cases, which have to make room.

    Raises :class:`SynthError` where ``folder`` holds anything that must not be replaced.
    """
    record = folder / RECORD
    if folder.exists() and not folder.is_dir():
        raise SynthError(f"{folder} is a file; name a folder for the slides")
    if not record.exists():
        if folder.exists() and any(folder.iterdir()):
            raise SynthError(f"{folder} holds other files; name an empty or a new folder")
        return []
    stored = read_json(record, SynthError)
    if not isinstance(stored, dict) or not {"plan", "cases"} <= stored.keys():
        raise SynthError(f"{record} was not written by synth; name another folder")
    if stored["plan"] == _described(plan):
        return []
    if not overwrite:
        raise SynthError(
            f"{folder} holds synthetic cases with other settings; "
            "name another folder, or replace them with --overwrite"
        )
    names = _names(stored)
    found = (path for name in names for path in (folder / name).rglob("*") if not path.is_dir())
    others = [
        str(path)
        for path in sorted(found)
        if not CASE_FILE.fullmatch(path.relative_to(folder).as_posix().partition("/")[2])
    ]
    if others:
        raise SynthError(
            f"{folder} holds what synth did not write, and --overwrite would remove it: "
            f"{some(others)}; move it away, or name another folder"
        )
    return names


def plan_cohort(folder: Path, plan: CohortPlan, overwrite: bool = False) -> dict[str, object]:
    """Return what :func:`write_cohort` would draw; raises what it would refuse."""
    check_folder(folder)
    replaced = replaced_cases(folder, plan, overwrite)
    cases = [case for _, case in plan.planned(folder)]
    for settings in (case.settings for case in cases if case.settings.glass is None):
        make_truth(settings)
    there = [case for case in cases if case.name not in replaced and case.is_complete()]
    pixels = sum(job.pixels for job in jobs_of(case for case in cases if case not in there))
    return {
        "pairs": len(cases),
        "done already": len(there),
        "to draw": f"{pixels / 1e6:.0f} megapixels",
        "disk": f"about {pixels * BYTES_PER_PIXEL / 2**20:.0f} MiB",
        "out": str(folder),
    }


def _described(plan: CohortPlan) -> Any:
    return json.loads(json.dumps(asdict(plan)))


def _names(stored: dict[str, Any]) -> list[str]:
    """Return the folders of the cases that a record names, and nothing outside of it."""
    names = stored["cases"] if isinstance(stored["cases"], list) else []
    return [name for name in names if isinstance(name, str) and CASE_FOLDER.fullmatch(name)]
