"""Cases of a cohort beside each other and one after another: ``python -m benchmarks.cohort_speed``.

One drawn pair stands for every case. `run` registers and cuts them all, once with memory for a single
case and once with all that ``--memory`` allows; the peak is that of the whole process tree (PSS).
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import yaml

from benchmarks.process_memory import watched
from benchmarks.slides import drawn_case
from pipeline.cohort.needs import cases_at_once, memory_gib
from registration.synth import SynthSettings


def main() -> None:
    """Print cases per hour and memory of both ways."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--size", type=int, default=10_240, help="of the slides, px a side")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", type=float, default=8.0, help="GiB")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    work = given.work.resolve()
    case = drawn_case(work / "case", SynthSettings(size=given.size, seed=3, picks=6), given.workers)
    files = {"he": str(case.he), "ihc": str(case.ihc), "landmarks": str(case.landmarks)}
    cases = [{"id": f"p{k:02d}", "patient": "one", **files} for k in range(given.cases)]
    rows = {}
    for name, memory in (("one", memory_gib(given.workers, 1)), ("several", given.memory)):
        manifest = work / f"{name}.yaml"
        manifest.write_text(yaml.safe_dump({"name": name, "out": name, "cases": cases}))
        shutil.rmtree(work / name, ignore_errors=True)
        words = ["run", str(manifest), "--workers", str(given.workers), "--memory", f"{memory:.2f}"]
        words += ["--stage", "register", "--stage", "patch"]
        seconds, peak_mib = watched(words, work / f"{name}.log")
        rows[name] = {
            "at_once": cases_at_once(given.workers, round(memory, 2)),
            "cases_per_hour": 3600 * given.cases / seconds,
            "peak_gib": peak_mib / 1024,
            "allowed_gib": memory,
        }
        print(name, json.dumps(rows[name]), flush=True)
    times = rows["several"]["cases_per_hour"] / rows["one"]["cases_per_hour"]
    print(f"{times:.2f} times as many cases per hour")
    if given.json:
        about = {"cases": given.cases, "size": given.size, "workers": given.workers}
        given.json.write_text(json.dumps({**about, "times": times, **rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
