"""Scripts that run a cohort on a SLURM cluster.

Two ways, both over a shared file system: an *array job*, one job per case, which needs nothing but
SLURM; and a *dask cluster* of SLURM jobs (dask-jobqueue), whose workers take single blocks and
patches of whichever case is being worked on.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

SlurmWay = Literal["array", "dask"]

GIB_PER_WORKER = 2
CORES = 8
"""Of a job."""

DASK_JOBS = 16
PROGRAM = Path(sys.executable).with_name("bci-pipeline")


@dataclass(frozen=True)
class SlurmPlan:
    """What a script needs to know."""

    manifest: tuple[str, ...]
    """What names it on the command line."""
    out: Path
    cases: tuple[str, ...]
    program: Path = PROGRAM
    """How the program is called on the cluster's nodes; its Python lies beside it."""


def slurm_script(plan: SlurmPlan, way: SlurmWay) -> str:
    """Return a script to be saved and run with ``bash`` on the cluster's login node."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["quoted"] = lambda value: shlex.quote(str(value))
    return environment.get_template(f"{way}.sh.j2").render(
        run=shlex.join([str(plan.program), "run", *plan.manifest]),
        python=shlex.quote(str(plan.program.with_name("python"))),
        cases=plan.cases,
        logs=plan.out / "slurm",
        scheduler=plan.out / "dask-scheduler.json",
        cores=CORES,
        memory_gib=CORES * GIB_PER_WORKER,
        jobs=DASK_JOBS,
    )
