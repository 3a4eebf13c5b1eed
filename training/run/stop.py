"""A first Ctrl-C or SIGTERM (as batch systems send) stops training after the step at hand."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPING = "stopping after this step, with a checkpoint; Ctrl-C again stops at once, without one"


class StopRequest:
    """Whether training was asked to stop."""

    requested = False


@contextmanager
def stop_on_signals(say: Callable[[str], object]) -> Iterator[StopRequest]:
    """Turn the first signal into a request, and ``say`` so; a second Ctrl-C interrupts at once.

    Further SIGTERMs change nothing: batch systems send several, and the checkpoint is being written.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        if request.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not request.requested:
            request.requested = True
            say(STOPPING)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
