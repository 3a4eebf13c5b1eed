"""Scripts that run a cohort on a SLURM cluster.

Two ways, both over a shared file system: an *array job*, one job per case, which needs nothing but
SLURM; and a *dask cluster* of SLURM jobs (dask-jobqueue), whose workers take single blocks and
patches of whichever case is being worked on.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

SlurmWay = Literal["array", "dask"]
SLURM_WAYS: tuple[SlurmWay, ...] = get_args(SlurmWay)

GIB_PER_WORKER = 2
ARRAY_CORES = 8
DASK_JOBS = 16


@dataclass(frozen=True)
class SlurmPlan:
    """What a script needs to know."""

    manifest: Path
    out: Path
    cases: tuple[str, ...]
    program: str = str(Path(sys.executable).with_name("bci-pipeline"))
    """How the program is called on the cluster's nodes."""


def slurm_script(plan: SlurmPlan, way: SlurmWay) -> str:
    """Return a script to be saved and run with ``bash`` on the cluster's login node."""
    return _array_script(plan) if way == "array" else _dask_script(plan)


def _array_script(plan: SlurmPlan) -> str:
    """One job per case, then one job for the dataset (and training) when all have ended."""
    run = f"{shlex.quote(plan.program)} run {shlex.quote(str(plan.manifest))}"
    return f"""#!/bin/bash
# One SLURM job per case, then one for what needs all cases. Run it with: bash THIS_FILE
# Add what your cluster wants (account, partition) to the two lines of options.
set -euo pipefail
options=(--time=04:00:00)
last_options=(--time=24:00:00)
logs={shlex.quote(str(plan.out / "slurm"))}
mkdir -p "$logs"

cases=(
{_listed(plan.cases)}
)

array=$(sbatch --parsable "${{options[@]}}" --job-name=bci-cases \\
  --array=0-$((${{#cases[@]}} - 1)) --cpus-per-task={ARRAY_CORES} --mem={ARRAY_CORES * GIB_PER_WORKER}G \\
  --output="$logs/%A_%a.txt" <<JOB
#!/bin/bash
cases=(${{cases[@]}})
case="\\${{cases[\\$SLURM_ARRAY_TASK_ID]}}"
exec {run} --only "\\$case" --stage register --stage patch --workers {ARRAY_CORES}
JOB
)
echo "cases: job $array"

# afterany: a case that failed is named in the dataset, and does not hold up the others.
last=$(sbatch --parsable "${{last_options[@]}}" --job-name=bci-dataset \\
  --dependency="afterany:${{array%%;*}}" --cpus-per-task=2 --mem=8G --output="$logs/dataset.txt" <<JOB
#!/bin/bash
exec {run} --stage dataset --stage train
JOB
)
echo "dataset: job $last"
"""


def _dask_script(plan: SlurmPlan) -> str:
    """A dask scheduler on the login node, workers in SLURM jobs, and the cohort run on them."""
    file = shlex.quote(str(plan.out / "dask-scheduler.json"))
    python = shlex.quote(str(Path(plan.program).with_name("python")))
    run = f"{shlex.quote(plan.program)} run {shlex.quote(str(plan.manifest))}"
    return f"""#!/bin/bash
# A dask cluster of SLURM jobs (pip install 'bci-pipeline[slurm]'), and the cohort run on it.
# Run it inside tmux or screen on the login node: bash THIS_FILE
set -euo pipefail
mkdir -p {shlex.quote(str(plan.out))}
rm -f {file}
{python} - {file} <<'PYTHON' &
import json
import signal
import sys
from pathlib import Path

from dask_jobqueue import SLURMCluster

signal.signal(signal.SIGTERM, lambda *_: sys.exit())
with SLURMCluster(
    cores={ARRAY_CORES},
    processes={ARRAY_CORES},  # one single-threaded process per core
    memory="{ARRAY_CORES * GIB_PER_WORKER}GB",
    walltime="04:00:00",
    # queue="...", account="...", interface="ib0",
) as cluster:
    cluster.adapt(minimum_jobs=1, maximum_jobs={DASK_JOBS})
    Path(sys.argv[1]).write_text(json.dumps({{"address": cluster.scheduler_address}}))
    signal.pause()
PYTHON
cluster=$!
trap 'kill "$cluster"' EXIT
until [ -s {file} ]; do sleep 1; kill -0 "$cluster"; done
{run} --scheduler {file}
"""


def _listed(cases: Sequence[str]) -> str:
    return "\n".join(f"  {shlex.quote(case)}" for case in cases)
