"""The memory that this process may use: a container or a batch job is often given a part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from registration.errors import SlideError

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class _Version:
    """Where a version of Linux's control groups keeps its figures."""

    folder: str
    """Named like what the list of a process's groups calls it."""
    limit: str
    used: str
    cache: str
    """The entry of ``memory.stat`` that is given up when memory is asked for: pages of read files."""


_FIRST = _Version("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_SECOND = _Version("", "memory.max", "memory.current", "inactive_file")


@dataclass(frozen=True)
class _Group:
    """A control group with a limit, in bytes."""

    limit: int
    used: int


def usable_memory(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Return how many bytes of memory this process may use in all."""
    total = int(psutil.virtual_memory().total)
    return min([total, *(group.limit for group in _groups(cgroups, membership))])


def free_memory(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Return how many bytes of memory are free for this process now."""
    available = int(psutil.virtual_memory().available)
    free = (group.limit - group.used for group in _groups(cgroups, membership))
    return max(0, min([available, *free]))


def _groups(cgroups: Path, membership: Path) -> Iterator[_Group]:
    """Yield the groups that limit this process: its own and all that hold it.

    A container sees its own group as the uppermost; a batch job of SLURM is some levels below.
    """
    for version, own in _memberships(membership):
        top = cgroups / version.folder
        for folder in (top / own, *(top / parent for parent in own.parents)):
            limit = _number(folder / version.limit)
            if limit is not None:
                used = _number(folder / version.used) or 0
                yield _Group(limit, max(0, used - _cached(folder, version)))


def _memberships(membership: Path) -> Iterator[tuple[_Version, PurePosixPath]]:
    """Yield the folder of this process's group below the uppermost, which it is where nothing is said."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    said = {kinds: group for _, kinds, group in (line.split(":", 2) for line in lines)}
    for version in (_FIRST, _SECOND):
        parts = PurePosixPath(said.get(version.folder, "/")).parts[1:]
        yield version, PurePosixPath() if ".." in parts else PurePosixPath(*parts)


def _cached(folder: Path, version: _Version) -> int:
    """Return the bytes of a group that only keep what was read of files."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{version.cache} "))


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
