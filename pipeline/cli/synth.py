"""``bci-pipeline synth``: slide pairs whose registration is known exactly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.cli.help import command
from pipeline.cli.options import DryRun, show_facts
from pipeline.errors import UsageError
from registration.files.commands import typed
from registration.files.plain_json import json_text
from registration.files.words import did_you_mean

if TYPE_CHECKING:
    from registration.geometry import Size
    from registration.synth import CohortPlan, GlassSettings, SynthCase
    from registration.synth.settings import Arrangement, Stain

MIRROR = "mirror"
STAGE = "synth"
EXAMPLES = (
    "bci-pipeline synth slides --cases 2 --size 2048 --her2 0,3+",
    "bci-pipeline synth hard --cases 1 --size 2048 --rotation 140 --damage tear,pen,mirror",
    "bci-pipeline synth cores --cases 1 --size 1024 --pieces 4 --shape cores --control",
    "bci-pipeline synth wide --cases 1 --size 2048x1024",
    "bci-pipeline synth stained --cases 2 --size 2048 --stains HER2,KI67",
)


@command(EXAMPLES)
def synth(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for the cases and their manifest.")
    ],
    size: Annotated[
        str,
        typer.Option(help="Pixels a side, or WIDTHxHEIGHT; with --pieces of the largest piece."),
    ] = "4096",
    cases: Annotated[int, typer.Option(min=1, help="How many slide pairs.")] = 2,
    cases_per_patient: Annotated[int, typer.Option(min=1, help="Pairs that share a patient.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first case.")] = 0,
    her2: Annotated[
        str, typer.Option(help="HER2 levels, given to patients in turn.")
    ] = "0,1+,2+,3+",
    stains: Annotated[
        str,
        typer.Option(
            help="Stains of IHC slides that share an H&E slide, of HER2, KI67 and ER; by default one.",
        ),
    ] = "",
    warp_px: Annotated[
        float | None,
        typer.Option(min=0, help="Largest non-rigid displacement; by default 40 at 4,096 px."),
    ] = None,
    rotation: Annotated[
        float | None, typer.Option(help="Degrees; by default within 20, by seed.")
    ] = None,
    changed: Annotated[
        float, typer.Option(min=0, max=1, help="Share of nuclei in only one section.")
    ] = 0.15,
    damage: Annotated[
        str, typer.Option(help="Comma-separated: tear, fold, pen, bubble, missing, blur, mirror.")
    ] = "",
    mpp_he: Annotated[float, typer.Option(help="µm per pixel of the HE slides.")] = 0.46,
    mpp_ihc: Annotated[float, typer.Option(help="µm per pixel of the IHC slides.")] = 0.46,
    pieces: Annotated[
        int | None, typer.Option(min=1, help="Pieces on a glass, each turned and bent on its own.")
    ] = None,
    shape: Annotated[Literal["section", "cores"], typer.Option(help="Of the pieces.")] = "section",
    arrangement: Annotated[
        Literal["same", "permuted"], typer.Option(help="Of the pieces on the IHC glass.")
    ] = "same",
    control: Annotated[
        bool, typer.Option("--control", help="Control tissue on the IHC glass.")
    ] = False,
    lost: Annotated[bool, typer.Option("--lost", help="A piece on the H&E glass only.")] = False,
    picks: Annotated[int, typer.Option(min=4, help="Picked landmark pairs, of each piece.")] = 4,
    pick_noise_px: Annotated[float, typer.Option(min=0, help="Deviation of a pick.")] = 4.0,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one per core, at most 4.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace older cases.")] = False,
    dry_run: DryRun = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cases as JSON.")] = False,
) -> None:
    """Write synthetic H&E/IHC pairs as Hamamatsu NDPI, with landmarks, exact truth and a manifest."""
    from registration.synth import CohortPlan, SynthSettings, plan_cohort
    from registration.synth.settings import DAMAGE_KINDS

    kinds = _words(damage)
    for kind in kinds:
        if kind not in (*DAMAGE_KINDS, MIRROR):
            known = (*DAMAGE_KINDS, MIRROR)
            raise UsageError(
                f"--damage {kind}: expected some of {', '.join(known)}{did_you_mean(kind, known)}"
            )
    settings = SynthSettings(
        size=_size(size),
        seed=seed,
        warp_px=warp_px,
        rotation_deg=rotation,
        changed_nuclei=changed,
        mirrored=MIRROR in kinds,
        damage=tuple(kind for kind in kinds if kind != MIRROR),  # type: ignore[misc]
        mpp_he=mpp_he,
        mpp_ihc=mpp_ihc,
        picks=picks,
        pick_noise_px=pick_noise_px,
        outline="core" if shape == "cores" else "section",
        glass=_glass(pieces, arrangement, control, lost),
    )
    levels, drawn = tuple(_words(her2)), _stains(stains)
    plan = CohortPlan(settings, cases, levels, cases_per_patient, drawn)  # type: ignore[arg-type]
    if dry_run:
        show_facts(plan_cohort(out, plan, overwrite), as_json)
        return
    _report(out, _write(out, plan, workers or min(os.cpu_count() or 1, 4), overwrite), as_json)


def _write(out: Path, plan: CohortPlan, workers: int, overwrite: bool) -> list[SynthCase]:
    """Write the cohort and report the megapixels done."""
    from pipeline.cli.progress import progress_on_stderr
    from registration.synth import write_cohort

    with progress_on_stderr({STAGE: "drawing slides, megapixels"}) as report:

        def advance(done: int, total: int) -> None:
            report(STAGE, done // 10**6, max(total // 10**6, 1))

        return write_cohort(out, plan, workers=workers, overwrite=overwrite, progress=advance)


def _report(out: Path, cases: list[SynthCase], as_json: bool) -> None:
    """Print what was written."""
    from rich.console import Console

    if as_json:
        described = [
            {
                "id": case.name,
                "stain": case.settings.stain,
                "her2": case.settings.her2,
                "he": str(case.he),
                "ihc": str(case.ihc),
                "landmarks": str(case.landmarks),
                "truth": str(case.truth),
            }
            for case in cases
        ]
        typer.echo(json_text({"manifest": str(out / "manifest.yaml"), "cases": described}))
        return
    console = Console(soft_wrap=True, highlight=False)
    for case in cases:
        level = case.settings.her2 if case.settings.stain == "HER2" else ""
        console.print(f"{case.name}  {case.settings.stain} {level:<3} {case.he}  {case.ihc}")
    console.print(f"next: {typed('run', out / 'manifest.yaml')}")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _stains(text: str) -> tuple[Stain, ...]:
    """Return the stains that were asked for, each once."""
    from registration.synth.settings import STAINS

    found = dict.fromkeys(word.upper().replace("-", "") for word in _words(text))
    for stain in found:
        if stain not in STAINS:
            raise UsageError(
                f"--stains {stain}: expected some of {', '.join(STAINS)}{did_you_mean(stain, STAINS)}"
            )
    return tuple(stain for stain in STAINS if stain in found)


def _glass(
    pieces: int | None, arrangement: Arrangement, control: bool, lost: bool
) -> GlassSettings | None:
    """Return what lies on a glass; ``None`` for one section that fills it."""
    from registration.synth import GlassSettings

    if pieces is None:
        if arrangement != "same" or control or lost:
            raise UsageError("--arrangement, --control and --lost need --pieces")
        return None
    return GlassSettings(pieces, arrangement, control, lost)


def _size(text: str) -> Size:
    """Parse ``4096`` or ``4096x3072``."""
    from registration.geometry import Size

    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdigit() for side in sides):
        raise UsageError(f"--size {text!r} is neither a number of pixels nor WIDTHxHEIGHT")
    return Size(int(sides[0]), int(sides[-1]))
