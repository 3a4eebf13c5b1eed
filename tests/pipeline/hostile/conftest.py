"""Good inputs of every kind, which the tests of bad ones and of kills start from."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.bad_inputs.good import Bench, make_bench
from benchmarks.bad_inputs.trial import load_commands


@pytest.fixture(scope="session")
def bench(hand_made: Any, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    load_commands()
    return make_bench(tmp_path_factory.mktemp("bench") / "good", hand_made.registration.folder)
