from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from registration.machine import free_memory, usable_cores, usable_memory

GIB = 2**30


def group(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_max", ".max")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


def test_without_limits_everything_is_usable(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == len(os.sched_getaffinity(0))
    assert usable_memory(tmp_path) == psutil.virtual_memory().total
    assert 0 < free_memory(tmp_path) <= psutil.virtual_memory().total
    unlimited = group(tmp_path, cpu_max="max 100000", memory_max="max")
    assert usable_cores(unlimited) == len(os.sched_getaffinity(0))
    assert usable_memory(unlimited) == psutil.virtual_memory().total


@pytest.mark.parametrize(("quota", "cores"), [("100000 100000", 1), ("30000 100000", 1)])
def test_a_container_is_given_a_share_of_the_cores(tmp_path: Path, quota: str, cores: int) -> None:
    assert usable_cores(group(tmp_path, cpu_max=quota)) == cores


def test_a_container_is_given_a_share_of_the_memory(tmp_path: Path) -> None:
    limited = group(tmp_path, memory_max=str(GIB))
    (limited / "memory.current").write_text(str(GIB // 4))
    assert usable_memory(limited) == GIB
    assert free_memory(limited) == GIB * 3 // 4


def test_the_first_kind_of_control_groups_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(str(GIB))
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text(str(GIB // 2))
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("100000")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert usable_cores(tmp_path) == 1
    assert free_memory(tmp_path) == GIB // 2
