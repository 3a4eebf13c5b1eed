from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from registration.errors import SlideError
from registration.files.memory import check_memory, free_memory, usable_memory

GIB = 2**30


def group(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_max", ".max")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


def test_without_limits_everything_is_usable(tmp_path: Path) -> None:
    assert usable_memory(tmp_path) == psutil.virtual_memory().total
    assert 0 < free_memory(tmp_path) <= psutil.virtual_memory().total
    unlimited = group(tmp_path, memory_max="max")
    assert usable_memory(unlimited) == psutil.virtual_memory().total


@pytest.fixture
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 GiB of which half are free, whatever the tests run on."""
    memory = psutil.virtual_memory()._replace(total=64 * GIB, available=32 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


@pytest.mark.usefixtures("large_machine")
def test_a_container_is_given_a_share_of_the_memory(tmp_path: Path) -> None:
    limited = group(tmp_path, memory_max=str(GIB))
    (limited / "memory.current").write_text(str(GIB // 4))
    assert usable_memory(limited) == GIB
    assert free_memory(limited) == GIB * 3 // 4


@pytest.mark.usefixtures("large_machine")
def test_the_first_kind_of_control_groups_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(str(GIB))
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text(str(GIB // 2))
    assert free_memory(tmp_path) == GIB // 2


def test_what_asks_for_more_than_there_is_is_refused_with_both_figures() -> None:
    check_memory("a.tif", GIB // 2)
    with pytest.raises(SlideError, match=r"^a\.tif: reading it takes 4096\.0 GiB .* there are \d"):
        check_memory("a.tif", 4096 * GIB)
