"""A sample of the seeded bad inputs of ``benchmarks.bad_inputs``, which tries thousands."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bad_inputs.__main__ import attacked
from benchmarks.bad_inputs.arguments import FAMILIES
from benchmarks.bad_inputs.good import Bench

LIMIT_S = 240.0
"""On a machine that does other work meanwhile; what hangs is longer."""
FIRST_SLOW = 2000


def faults(bench: Bench, folder: Path, seeds: range) -> str:
    return "\n".join(fault for seed in seeds for fault in attacked(bench, folder, seed, LIMIT_S))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_one_of_every_family_ends_in_words(bench: Bench, tmp_path: Path) -> None:
    assert not faults(bench, tmp_path, range(len(FAMILIES)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", range(FIRST_SLOW, FIRST_SLOW + 300, 50))
def test_bad_inputs_end_in_words(bench: Bench, tmp_path: Path, first: int) -> None:
    assert not faults(bench, tmp_path, range(first, first + 50))
