"""What this process may use of the machine: a container or a batch job is often given a part."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Return how many cores this process may run on, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else psutil.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, cores if quota is None else min(cores, int(quota + 0.5)))


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


def _quota(cgroup: Path) -> float | None:
    """Return the processor time a control group may use, in cores."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        microseconds = _number(cgroup / "cpu" / "cpu.cfs_quota_us")
        period_us = _number(cgroup / "cpu" / "cpu.cfs_period_us")
        return microseconds / period_us if microseconds and period_us else None
    return None if quota == "max" else int(quota) / int(period)


def _number(path: Path) -> int | None:
    """Return the positive number in a file; ``None`` where there is none."""
    try:
        value = int(path.read_text())
    except (OSError, ValueError):
        return None
    return value if value > 0 else None
