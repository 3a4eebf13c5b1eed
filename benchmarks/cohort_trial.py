"""A folder of slides as a group has it, and the way to its dataset: ``python -m benchmarks.cohort_trial``.

Draws cases with two stains on one H&E slide, one of them of two pieces. One slide is cut short, one case
lacks its IHC slides, and the table gives one patient two splits. Then: `manifest`, `run`, one review
of what needs a person (here every case with a window is accepted), and `run` again.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.cohort.facts import waiting
from pipeline.cohort.state import Cohort
from pipeline.dataset.table import PatchRow, read_table
from registration.result import write_review
from registration.synth import CohortPlan, GlassSettings, SynthSettings, write_cohort
from registration.synth.settings import Stain

STAINS: tuple[Stain, ...] = ("HER2", "KI67")
PIECES, BROKEN, UNPAIRED, LEAKING = 1, 2, 3, (4, 5)
"""Numbers of the cases that are not as the others, from 0."""


def main() -> None:
    """Draw a group's folder, walk through it, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for everything")
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--size", type=int, default=2048, help="of a slide, px a side")
    parser.add_argument("--patch", type=int, default=512, help="px a side")
    parser.add_argument("--blocks", default="2x2")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    slides = draw_group(options.work, options.cases, options.size, options.workers)
    began = time.perf_counter()
    manifest = options.work / "cohort.yaml"
    said = [drafted(slides, manifest, {"size": options.patch}, options.blocks)]
    said += walked(manifest, options.workers)
    print("\n\n".join(said))
    print(f"{time.perf_counter() - began:.0f} s")
    report(read_table(Cohort.load(manifest).dataset))


def draw_group(base: Path, cases: int, size: int, workers: int = 1) -> Path:
    """Draw the slides of a group and return their folder, the table of cases in it."""
    settings = SynthSettings(size=size, seed=70, picks=6)
    glass = replace(settings, size=size // 2 // 64 * 64, seed=500, glass=GlassSettings(2))
    plans = (CohortPlan(settings, cases - 1, ("3+", "1+", "2+"), stains=STAINS),)
    plans += (CohortPlan(glass, 1, ("2+",), stains=STAINS),)
    drawn = [
        write_cohort(base / f"drawn{k}", plan, workers=workers) for k, plan in enumerate(plans)
    ]
    count = len(STAINS)
    written = [drawn[0][k : k + count] for k in range(0, len(drawn[0]), count)]
    written.insert(PIECES, drawn[1])
    slides = base / "slides"
    slides.mkdir(exist_ok=True)
    for number, stains in enumerate(written):
        name = f"p{number + 1:02d}"
        _link(stains[0].he, slides / f"{name}_HE.ndpi")
        for case in stains if number != UNPAIRED else ():
            _link(case.ihc, slides / f"{name}_{case.settings.stain}.ndpi")
    broken = slides / f"p{BROKEN + 1:02d}_{STAINS[-1]}.ndpi"
    content = broken.read_bytes()
    broken.unlink()
    broken.write_bytes(content[: len(content) // 3])
    with (slides / "cases.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["case", "patient", "her2", "split"])
        for number, stains in enumerate(written):
            leaking = number in LEAKING
            split = ("train", "test")[LEAKING.index(number)] if leaking else ""
            patient = "x05" if leaking else f"x{number + 1:02d}"
            table.writerow([f"p{number + 1:02d}", patient, stains[0].settings.her2, split])
    return slides


def drafted(slides: Path, manifest: Path, patch: dict[str, object], blocks: str) -> str:
    """Write the manifest, as a person does, and set patches and blocks in it; return what was said."""
    words = ["manifest", str(slides), "--table", str(slides / "cases.csv"), "--out", str(manifest)]
    said = _command(*words)
    text = manifest.read_text()
    chosen = "".join(f"\n  {name}: {value}" for name, value in patch.items())
    text = text.replace("# patch:", f"patch:{chosen}", 1)
    manifest.write_text(text.replace("image: none", f"image: none\n  blocks: {blocks}", 1))
    return said


def walked(manifest: Path, workers: int) -> list[str]:
    """Run the cohort, accept what needs a person, and run it again; return what was said."""
    said = [_command("run", str(manifest), "--workers", str(workers))]
    cohort = Cohort.load(manifest)
    for case, facts in waiting(cohort):
        said.append(f"review {case.id}: {facts.word}: {'; '.join(facts.reasons)}")
        if facts.window == "review":
            write_review(cohort.run(case), "accepted")
    return [*said, _command("run", str(manifest), "--workers", str(workers))]


def report(rows: list[PatchRow]) -> None:
    """Print the pairs of every split and stain."""
    kept = Counter((row.split, row.stain) for row in rows if row.kept)
    for (split, stain), count in sorted(kept.items()):
        print(f"{split}  {stain}  {count} pairs")


def _command(*words: str) -> str:
    """Return what a command printed, with its exit code."""
    done = CliRunner().invoke(app, list(words))
    return f"$ bci-pipeline {' '.join(words)}\n{done.output}exit code {done.exit_code}"


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    target.hardlink_to(source)


if __name__ == "__main__":
    main()
