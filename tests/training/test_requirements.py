"""Training runs on a machine that has little more than torch and numpy."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
HEAVY = "torchmetrics matplotlib scipy skimage cv2 pyarrow tensorboard yaml typer rich"


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
