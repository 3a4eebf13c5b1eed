"""The scripts for SLURM, run against an `sbatch` that starts its jobs at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cohort.slurm import SlurmPlan, SlurmWay, slurm_script

SBATCH = """#!/bin/bash
# Notes its options, and runs the script on its standard input, once per number of an array.
printf '%s\\n' "$*" >> "$SPOOL/submitted"
script="$SPOOL/job.$(wc -l < "$SPOOL/submitted")"
cat > "$script"
numbers=-
for word in "$@"; do
  case "$word" in --array=*) numbers=$(seq $(tr - ' ' <<< "${word#--array=}")) ;; esac
done
for number in $numbers; do SLURM_ARRAY_TASK_ID=$number bash "$script"; done
echo "4711;cluster"
"""

PROGRAM = f"""#!{sys.executable}
import json, os, sys
scheduler = sys.argv[sys.argv.index("--scheduler") + 1] if "--scheduler" in sys.argv else None
address = json.load(open(scheduler))["address"] if scheduler else None
with open(os.environ["SPOOL"] + "/called", "a") as file:
    file.write(json.dumps({{"words": sys.argv[1:], "address": address}}) + "\\n")
"""

JOBQUEUE = """
class SLURMCluster:
    scheduler_address = "tcp://10.0.0.1:8786"

    def __init__(self, **options):
        assert options["cores"] == options["processes"]

    def __enter__(self):
        return self

    def __exit__(self, *details):
        pass

    def adapt(self, minimum_jobs, maximum_jobs):
        pass
"""


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A cluster in a folder whose name needs quoting, with `sbatch`, our program and its Python."""
    folder = tmp_path / "a `b` $HOME 'c'"
    (folder / "bin").mkdir(parents=True)
    for name, text in (("sbatch", SBATCH), ("bci-pipeline", PROGRAM)):
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "dask_jobqueue.py").write_text(JOBQUEUE)
    return folder


def run(spool: Path, way: SlurmWay, *cases: str) -> list[dict[str, object]]:
    """Run a script; return how our program was called by its jobs."""
    plan = SlurmPlan(
        (str(spool / "my cohort.yaml"),), spool / "out", cases, spool / "bin" / "bci-pipeline"
    )
    environment = {
        **os.environ,
        "SPOOL": str(spool),
        "PATH": f"{spool / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(spool),
    }
    script = spool / "submit.sh"
    script.write_text(slurm_script(plan, way))
    subprocess.run(["bash", str(script)], check=True, env=environment)
    return [json.loads(line) for line in (spool / "called").read_text().splitlines()]


def test_an_array_job_runs_each_case_and_then_what_needs_all(spool: Path) -> None:
    *cases, last = run(spool, "array", "p012", "p013", "p.14")

    manifest = str(spool / "my cohort.yaml")
    stages = ["--stage", "register", "--stage", "patch", "--workers", "8"]
    assert [call["words"] for call in cases] == [
        ["run", manifest, "--only", case, *stages] for case in ("p012", "p013", "p.14")
    ]
    assert last["words"] == ["run", manifest, "--stage", "dataset", "--stage", "train"]
    first, second = (spool / "submitted").read_text().splitlines()
    assert "--array=0-2" in first
    assert "--dependency=afterany:4711 " in second
    assert (spool / "out" / "slurm").is_dir()


def test_a_dask_cluster_is_started_used_and_ended(spool: Path) -> None:
    (call,) = run(spool, "dask", "p012")

    scheduler = str(spool / "out" / "dask-scheduler.json")
    assert call["words"] == ["run", str(spool / "my cohort.yaml"), "--scheduler", scheduler]
    assert call["address"] == "tcp://10.0.0.1:8786"
