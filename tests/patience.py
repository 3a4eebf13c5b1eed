"""Waiting for what other processes do, as long as a busy machine may take."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

PATIENCE_S = 500
"""A limit for what hangs, not a measure."""


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"in vain for {PATIENCE_S} s: {what}"
        time.sleep(0.02)


def lives(process: psutil.Process) -> bool:
    """Return whether a process is at work; one that ended may still be in the system's list."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
