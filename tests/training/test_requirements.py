"""Training runs on a machine that has little more than torch and numpy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]

SCRIPT = """
import importlib.machinery, sys

blocked = set(sys.argv[2].split())

class WithoutBlocked(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        missing = name.split(".")[0] in blocked
        return None if missing else super().find_spec(name, path, target)

finders = [f for f in sys.meta_path if f is not importlib.machinery.PathFinder]
sys.meta_path = [*finders, WithoutBlocked]
__import__(sys.argv[1])
"""
HEAVY = (
    "torchmetrics matplotlib scipy skimage cv2 pyarrow tensorboard yaml typer rich imagecodecs dask "
    "distributed zarr numcodecs itk openslide orjson cachetools simplejpeg"
)


@pytest.mark.parametrize(
    ("module", "code"),
    [("training.run.loop", 0), ("training.data.pairs", 0), ("training.evaluation.run", 1)],
)
@pytest.mark.slow
def test_what_training_can_do_without(module: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, module, HEAVY], check=False, capture_output=True, text=True
    )

    assert done.returncode == code, done.stderr
    assert ("No module named" in done.stderr) == bool(code)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU it takes minutes")
@pytest.mark.parametrize("lacking", ["xdist timeout", "timeout"])
def test_the_gpu_check_runs_with_little_more_than_pytest(tmp_path: Path, lacking: str) -> None:
    plugins = {"xdist": "-p no:xdist -p no:xdist.looponfail", "timeout": "-p no:timeout"}
    (tmp_path / "xdist").mkdir()
    if "xdist" in lacking:
        (tmp_path / "xdist" / "__init__.py").write_text("raise ImportError")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path) if "xdist" in lacking else "",
        "PYTEST_ADDOPTS": " ".join(plugins[name] for name in lacking.split()),
        "JOBS": "2",
        "BENCH": "0",
    }

    done = subprocess.run(
        ["bash", ROOT / "benchmarks" / "gpu_check.sh", tmp_path / "out"],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )

    assert done.returncode == 0, done.stdout
    assert " skipped" in (tmp_path / "out" / "test.log").read_text().splitlines()[-1]
