"""``python -m benchmarks.bad_inputs``: see the package."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bad_inputs.arguments import FAMILIES
from benchmarks.bad_inputs.good import Bench, make_bench
from benchmarks.bad_inputs.trial import LIMIT_S, faults, load_commands
from pipeline.cli.app import app
from registration.synth import CohortPlan, SynthSettings, write_cohort


def attacked(bench: Bench, work: Path, seed: int, limit_s: float) -> list[str]:
    """Try one seed; return what is wrong with how the command ended."""
    family = FAMILIES[seed % len(FAMILIES)]
    here = work / str(seed)
    for folder in (here, work / f"{seed}.said"):
        shutil.rmtree(folder, ignore_errors=True)
    here.mkdir(parents=True)
    attack = family(bench, here, random.Random(seed))
    said = f"seed {seed} ({family.__name__}): "
    found = [said + fault for fault in faults(attack, here, bench.canary, limit_s)]
    if not found:
        for folder in (here, work / f"{seed}.said"):
            shutil.rmtree(folder, ignore_errors=True)
    return found


def make_run(folder: Path) -> Path:
    """Register a drawn pair whose slides lie beside the run folder; return that."""
    import openslide

    write_cohort(folder / "drawn", CohortPlan(SynthSettings(size=1024, seed=1, picks=6)), workers=1)
    case = next(path for path in (folder / "drawn").iterdir() if path.is_dir())
    for stain in ("he", "ihc"):
        with openslide.OpenSlide(next(case.glob(f"*_{stain}.ndpi"))) as slide:
            image = slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")
        image.save(folder / f"{stain}.png")
    words = ("register", folder / "he.png", folder / "ihc.png", "--mpp-he", "0.5", "--mpp-ihc")
    words += ("0.5", "--landmarks", case / "landmarks.csv", "--workers", "1", "--no-image")
    app([*map(str, words), "--out", str(folder / "run")], standalone_mode=False)
    return folder / "run"


def main() -> None:
    """Print every fault, and how many inputs ended well."""
    # A child that was forked from a process whose OpenMP has started threads waits for ever.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bad_inputs")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=Path, help="A file with the seeds to try instead.")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    work = given.work.resolve()
    run = work / "run"
    if not run.exists():
        make_run(work)
    bench = Bench(work / "good", run)
    if not bench.folder.exists():
        make_bench(bench.folder, run)
    seeds: Sequence[int] = range(given.first, given.first + given.count)
    if given.seeds:
        seeds = [int(word) for word in given.seeds.read_text().split()]
    load_commands()
    failed: dict[int, list[str]] = {}
    for seed in seeds:
        if found := attacked(bench, work / "trials", seed, given.limit_s):
            failed[seed] = found
            print("\n".join(found), flush=True)
    places = Counter(FAMILIES[seed % len(FAMILIES)].__name__ for seed in failed)
    print(f"{len(seeds) - len(failed)} of {len(seeds)} ended well; by family: {dict(places)}")
    if given.json:
        given.json.write_text(json.dumps({"count": len(seeds), "failed": failed}))


if __name__ == "__main__":
    main()
