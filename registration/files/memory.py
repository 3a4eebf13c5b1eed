"""The memory that this process may use: a container or a batch job is often given a part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil

from registration.errors import SlideError

CGROUP = Path("/sys/fs/cgroup")


def usable_memory(cgroup: Path = CGROUP) -> int:
    """Return how many bytes of memory this process may use in all."""
    total = int(psutil.virtual_memory().total)
    limits = [
        _number(cgroup / "memory.max"),
        _number(cgroup / "memory" / "memory.limit_in_bytes"),
    ]
    return min([total, *(limit for limit in limits if limit)])


def free_memory(cgroup: Path = CGROUP) -> int:
    """Return how many bytes of memory are free for this process now."""
    available = int(psutil.virtual_memory().available)
    used = _number(cgroup / "memory.current") or _number(
        cgroup / "memory" / "memory.usage_in_bytes"
    )
    limit = usable_memory(cgroup)
    if used is None or limit >= psutil.virtual_memory().total:
        return available
    return max(0, min(available, limit - used))


def check_memory(
    what: str,
    need_bytes: int,
    refusal: Callable[[str], Exception] = SlideError,
    remedy: str = "Use a larger machine, or a tiled pyramid.",
) -> None:
    """Raise ``refusal`` where ``what`` asks for more bytes than this process may use."""
    usable = usable_memory()
    if need_bytes > usable:
        raise refusal(
            f"{what}: reading it takes {need_bytes / 2**30:.1f} GiB of memory, and there are "
            f"{usable / 2**30:.1f} GiB in all. {remedy}"
        )


def _number(path: Path) -> int | None:
    """Return the positive number in a file; ``None`` where there is none."""
    try:
        value = int(path.read_text())
    except (OSError, ValueError):
        return None
    return value if value > 0 else None
