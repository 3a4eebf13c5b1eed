"""A cohort on disk: where each case's work lies, and how far it has come.

::

    OUT/cases/<id>/registration    what `register` writes
    OUT/cases/<id>/patches         selected and cut patches
    OUT/cases/<id>/failed.json     why the last attempt ended, if it did
    OUT/cases/<id>/log.txt         what the last attempt said
    OUT/dataset                    the dataset of all cases
    OUT/train                      what `train` writes, where the manifest asks for it

State is never stored: a stage is done when its result carries the key of today's inputs and
settings, so that a changed setting redoes exactly what depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from pipeline.dataset.folder import finished_dataset_key
from pipeline.dataset.plan import DatasetPlan
from pipeline.dataset.summary import DatasetCase
from pipeline.dataset.table import UNNAMED_STAIN
from pipeline.errors import PipelineError, UsageError
from pipeline.manifest.manifest import Case, Manifest, load_manifest
from pipeline.patches.case import case_key, exclusion
from pipeline.patches.record import CasePatches, finished_case_key
from pipeline.stages.register import RegisterRequest, expected_key
from registration.errors import RegistrationError
from registration.files.storage import settings_hash, write_json
from registration.files.text import json_record
from registration.files.words import counted
from registration.register import finished_key
from registration.result import REPORT_NAME, Registration, read_record

Stage = Literal["register", "patch", "dataset", "train"]
STAGES: tuple[Stage, ...] = get_args(Stage)
CASE_STAGES: tuple[Stage, ...] = ("register", "patch")

Word = Literal["done", "to do", "changed", "waiting", "failed", "excluded"]


@dataclass(frozen=True, slots=True)
class State:
    """How far one stage has come."""

    word: Word
    note: str = ""

    def __str__(self) -> str:
        return f"{self.word}: {self.note}" if self.note else self.word


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What a registered case has come to."""

    verdict: str
    reasons: tuple[str, ...]
    pairs: int | None
    """Kept pairs of patches; ``None`` before they are cut."""
    report: Path

    def __str__(self) -> str:
        pairs = "" if self.pairs is None else f", {counted(self.pairs, 'pair')}"
        return f"{self.verdict}{pairs}: {self.report}"


NAMING_STAGES = ("register_", "patch")
"""Settings that say whether names are kept."""


@dataclass(frozen=True)
class Cohort:
    """A manifest and the folder its work lies in."""

    path: Path
    manifest: Manifest
    config: Path | None = None
    """Settings of a manifest that is a table of cases."""
    keep_names: bool = False
    """Whether names were asked for beside the manifest."""

    @classmethod
    def load(cls, path: Path, config: Path | None = None, keep_names: bool = False) -> Cohort:
        """Read the manifest. Raises :class:`pipeline.errors.ManifestError` with all mistakes."""
        manifest = load_manifest(path, config)
        if keep_names:
            kept = {"keep_names": True}
            of_stages = {n: getattr(manifest, n).model_copy(update=kept) for n in NAMING_STAGES}
            manifest = manifest.model_copy(update=of_stages)
        return cls(path, manifest, config, keep_names)

    @property
    def named(self) -> list[str]:
        """What names the manifest on the command line."""
        return [*self.paths, *(["--keep-names"] if self.keep_names else [])]

    @property
    def paths(self) -> list[str]:
        """What names the manifest for commands that take no settings."""
        return [str(self.path), *(["--config", str(self.config)] if self.config else [])]

    @property
    def dataset(self) -> Path:
        """Folder of the dataset."""
        return self.manifest.out / "dataset"

    @property
    def training(self) -> Path:
        """Folder of the training run."""
        return self.manifest.out / "train"

    def folder(self, case: Case) -> Path:
        """Folder of one case."""
        return self.manifest.out / "cases" / case.id

    def run(self, case: Case) -> Path:
        """Folder of one case's registration."""
        return self.folder(case) / "registration"

    def patches(self, case: Case) -> Path:
        """Folder of one case's patches."""
        return self.folder(case) / "patches"

    def picks(self, case: Case) -> Path:
        """Where landmarks are kept that were picked for a case after its first run."""
        return self.folder(case) / "landmarks.csv"

    def log(self, case: Case) -> Path:
        """What the last attempt at one case said."""
        return self.folder(case) / "log.txt"

    def select(self, names: Sequence[str]) -> list[Case]:
        """Return the cases of the given ids, all of them for none.

        Raises :class:`UsageError` for an unknown id.
        """
        known = {case.id: case for case in self.manifest.cases}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise UsageError(
                f"{self.path} has no case {', '.join(unknown)}; it has {', '.join(known)}"
            )
        return [known[name] for name in dict.fromkeys(names)] or list(self.manifest.cases)

    def request(self, case: Case) -> RegisterRequest:
        """Return what `register` is asked for."""
        return RegisterRequest(
            he=case.he,
            ihc=case.ihc,
            out=self.run(case),
            settings=self.manifest.registering(case),
            name=case.id,
            landmarks=case.landmarks or self._picked(case),
            truth=case.truth,
            pieces=case.pieces,
            mpp_he=case.mpp_he,
            mpp_ihc=case.mpp_ihc,
            overwrite=True,
        )

    def _picked(self, case: Case) -> str | None:
        picks = self.picks(case)
        return str(picks) if picks.exists() else None

    def state(self, case: Case, stage: Stage) -> State:
        """Return how far a stage of one case has come."""
        state = self._register_state(case) if stage == "register" else self._patch_state(case)
        failure = read_failure(self.folder(case))
        if state.word in ("to do", "changed") and failure is not None and failure[0] == stage:
            return State("failed", failure[1])
        return state

    def _register_state(self, case: Case) -> State:
        found = finished_key(self.run(case))
        if self.manifest.synthetic and not (case.he.exists() and case.ihc.exists()):
            return State("to do", "slides are to be drawn")
        try:
            wanted = expected_key(self.request(case))
        except (RegistrationError, PipelineError) as error:
            return State("failed", str(error))
        if found is None:
            return State("to do")
        return State("done") if found == wanted else State("changed")

    def _patch_state(self, case: Case) -> State:
        if self._register_state(case).word != "done":
            return State("waiting")
        try:
            registration = Registration.load(self.run(case))
        except RegistrationError as error:
            return State("failed", str(error))
        excluded = exclusion(registration)
        if excluded:
            return State("excluded", excluded)
        found = finished_case_key(self.patches(case))
        if found is None:
            return State("to do")
        wanted = case_key(registration, self.manifest.patch)
        return State("done") if found == wanted else State("changed")

    def result(self, case: Case) -> CaseResult | None:
        """Return what a case has come to; ``None`` before it is registered."""
        run = self.run(case)
        if finished_key(run) is None:
            return None
        record = read_record(run)
        pairs = None
        if self._patch_state(case).word == "done":
            pairs = sum(item.kept for item in CasePatches.load(self.patches(case)).candidates)
        return CaseResult(
            verdict=record["verdict"],
            reasons=tuple(record["reasons"]),
            pairs=pairs,
            report=run / REPORT_NAME,
        )

    def dataset_plan(self) -> DatasetPlan:
        """Return the dataset that can be made now; cases that are not ready are left out, named."""
        manifest = self.manifest
        return DatasetPlan(
            name=manifest.name,
            cases=tuple(self._dataset_case(case) for case in manifest.cases),
            settings=manifest.patch,
            split=manifest.split,
        )

    def _dataset_case(self, case: Case) -> DatasetCase:
        entry = DatasetCase(
            case.id, case.patient, case.her2, case.split, stain=case.stain or UNNAMED_STAIN
        )
        for stage in CASE_STAGES:
            state = self.state(case, stage)
            if state.word != "done":
                return replace(entry, excluded=state.note or f"{stage}: {state.word}")
        patches = CasePatches.load(self.patches(case))
        return replace(entry, key=patches.key, patches=patches)

    def dataset_state(self) -> State:
        """Return how far the dataset has come."""
        found = finished_dataset_key(self.dataset)
        plan = self.dataset_plan()
        if all(case.patches is None for case in plan.cases):
            return State("waiting")
        if found is None:
            return State("to do")
        return State("done") if found == plan.key else State("changed")

    def training_key(self) -> str:
        """Return the hash of what a training run depends on."""
        return settings_hash(finished_dataset_key(self.dataset), self.manifest.train)

    def training_state(self) -> State | None:
        """Return how far the training has come; ``None`` where none is asked for."""
        if self.manifest.train is None:
            return None
        if self.dataset_state().word != "done":
            return State("waiting")
        stored = read_training(self.manifest.out)
        if stored is None or not stored[1]:
            return State("to do")
        return State("done") if stored[0] == self.training_key() else State("changed")


def write_failure(folder: Path, stage: str, message: str) -> None:
    """Note why an attempt at a case ended."""
    write_json(folder / "failed.json", {"stage": stage, "message": message})


def read_failure(folder: Path) -> tuple[str, str] | None:
    """Return the stage and the message of the last failure, ``None`` where there was none."""
    record = json_record(folder / "failed.json")
    stage, message = record.get("stage"), record.get("message")
    return (stage, message) if isinstance(stage, str) and isinstance(message, str) else None


def clear_failure(folder: Path) -> None:
    """Forget an older failure."""
    (folder / "failed.json").unlink(missing_ok=True)


def write_training(out: Path, key: str, done: bool) -> None:
    """Note which dataset and settings a training run belongs to."""
    write_json(out / "train.json", {"key": key, "done": done})


def read_training(out: Path) -> tuple[str, bool] | None:
    """Return the key of the training run and whether it ended; ``None`` where there is none."""
    record = json_record(out / "train.json")
    key, done = record.get("key"), record.get("done")
    return (key, done) if isinstance(key, str) and isinstance(done, bool) else None
