from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from registration.errors import SlideError
from registration.files.memory import check_memory, free_memory, usable_memory

GIB = 2**30


def group(folder: Path, **figures: int | str) -> Path:
    """Write the figures of a control group; ``_`` stands for the dot in a name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        (folder / name.replace("memory_", "memory.", 1)).write_text(f"{figure}\n")
    return folder


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    return tmp_path / "no such file"


def test_without_limits_everything_is_usable(tmp_path: Path, nowhere: Path) -> None:
    assert usable_memory(tmp_path, nowhere) == psutil.virtual_memory().total
    assert 0 < free_memory(tmp_path, nowhere) <= psutil.virtual_memory().total
    unlimited = group(tmp_path, memory_max="max")
    assert usable_memory(unlimited, nowhere) == psutil.virtual_memory().total


@pytest.fixture
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 GiB of which half are free, whatever the tests run on."""
    memory = psutil.virtual_memory()._replace(total=64 * GIB, available=32 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


@pytest.mark.usefixtures("large_machine")
def test_a_container_is_given_a_share_of_the_memory(tmp_path: Path, nowhere: Path) -> None:
    limited = group(tmp_path, memory_max=GIB, memory_current=GIB // 4)
    assert usable_memory(limited, nowhere) == GIB
    assert free_memory(limited, nowhere) == GIB * 3 // 4


@pytest.mark.usefixtures("large_machine")
def test_the_first_kind_of_control_groups_is_read_too(tmp_path: Path, nowhere: Path) -> None:
    group(tmp_path / "memory", memory_limit_in_bytes=GIB, memory_usage_in_bytes=GIB // 2)
    assert free_memory(tmp_path, nowhere) == GIB // 2


@pytest.mark.usefixtures("large_machine")
@pytest.mark.parametrize(
    ("said", "top", "limit", "used", "cache"),
    [
        ("0::/slurm/job_7/step_0", "", "memory_max", "memory_current", "inactive_file"),
        (
            *("9:pids:/\n4:memory:/slurm/job_7/step_0\n0::/", "memory", "memory_limit_in_bytes"),
            *("memory_usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_a_batch_job_has_the_limit_of_what_holds_it_and_read_files_take_nothing(
    said: str, top: str, limit: str, used: str, cache: str, tmp_path: Path
) -> None:
    membership = tmp_path / "membership"
    membership.write_text(f"{said}\n")
    groups = tmp_path / "groups"
    step = group(groups / top / "slurm/job_7/step_0", **{limit: 2**63 - 4096, used: 3 * GIB})
    job = {limit: 8 * GIB, used: 6 * GIB, "memory_stat": f"anon 1\n{cache} {5 * GIB}\nslab 2"}
    group(step.parent, **job)

    assert usable_memory(groups, membership) == 8 * GIB
    assert free_memory(groups, membership) == 7 * GIB


@pytest.mark.usefixtures("large_machine")
@pytest.mark.parametrize("own", ["/docker/1f2e", "/../../other"])
def test_a_group_that_a_container_cannot_see_is_the_uppermost(own: str, tmp_path: Path) -> None:
    membership = tmp_path / "membership"
    membership.write_text(f"0::{own}\n")
    assert usable_memory(group(tmp_path / "groups", memory_max=GIB), membership) == GIB


def test_what_asks_for_more_than_there_is_is_refused_with_both_figures() -> None:
    check_memory("a.tif", GIB // 2)
    with pytest.raises(SlideError, match=r"^a\.tif: reading it takes 4096\.0 GiB .* there are \d"):
        check_memory("a.tif", 4096 * GIB)
