"""Whether two runs of a cohort give byte-identical datasets, on one worker or four.

    python -m benchmarks.determinism --work FOLDER [--size 2048] [--json FILE]

Slides are drawn once; the cohort is registered, cut and assembled from nothing by each run, into a
folder of another name. Every file of the datasets is compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import yaml

from benchmarks.process_memory import watched
from pipeline.dataset.checksums import SUMS_NAME
from registration.synth import CohortPlan, SynthSettings, write_cohort

RUNS = {"one": 1, "four": 4, "again": 4}

SETTINGS = {"name": "determinism", "patch": {"size": 256}, "split": {"test": 0.5}}


def made(work: Path, name: str, count: int, size: int) -> dict[str, str]:
    """Run the cohort from nothing; return the checksum of every file of its dataset."""
    slides = work / f"slides_{size}"
    write_cohort(slides, CohortPlan(SynthSettings(size=size, seed=50, picks=6)), workers=2)
    out = work / f"out_{name}"
    shutil.rmtree(out, ignore_errors=True)
    manifest = slides / f"cohort_{name}.yaml"
    drawn = yaml.safe_load((slides / "manifest.yaml").read_text(encoding="utf-8"))
    manifest.write_text(yaml.safe_dump(drawn | SETTINGS | {"out": str(out)}), encoding="utf-8")
    watched(["run", str(manifest), "--workers", str(count)], work / f"{name}.log")
    lines = (out / "dataset" / SUMS_NAME).read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def main() -> None:
    """Print how many files differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    sums = {name: made(work, name, count, given.size) for name, count in RUNS.items()}
    first = sums["one"]
    different = {
        name: sorted(
            file for file in first.keys() | found.keys() if first.get(file) != found.get(file)
        )
        for name, found in sums.items()
    }
    for name, files in different.items():
        print(
            f"{name:<6} {RUNS[name]} workers, {len(sums[name])} files: {len(files)} differ {files}"
        )
    if given.json:
        given.json.write_text(json.dumps(different, indent=2) + "\n")
    if any(different.values()):
        raise SystemExit("the datasets differ")


if __name__ == "__main__":
    main()
