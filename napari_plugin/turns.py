"""Do one thing after another, each in a turn of its own, so that the window answers meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from qtpy.QtCore import QObject, QTimer

TURN_MS = 10
Made = TypeVar("Made")


class Turns:
    """What waits for its turn. It goes with ``window``: a closed one needs nothing done any more."""

    def __init__(self, window: QObject) -> None:
        self._waiting: deque[tuple[Future[Any] | None, Callable[[], object]]] = deque()
        self._timer = QTimer(window)
        self._timer.setInterval(TURN_MS)
        self._timer.timeout.connect(lambda: self._next())  # a bound method would not keep it alive

    @property
    def are_over(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def add(self, *acts: Callable[[], object], after: Future[Any] | None = None) -> None:
        """Do these when what waits already is done, and what a thread prepares for them."""
        self._waiting.extend((after, act) for act in acts)
        self._timer.start()

    def finish(self) -> None:
        """Do all that waits at once."""
        while self._waiting:
            self._do_first()

    def _next(self) -> None:
        if not self._waiting:
            self._timer.stop()
        elif (after := self._waiting[0][0]) is None or after.done():
            self._do_first()

    def _do_first(self) -> None:
        after, act = self._waiting.popleft()
        if after is not None:
            after.result()
        act()


def on_thread(work: Callable[..., Made], *given: Any) -> Future[Made]:
    """Begin to do it on a thread of its own."""
    threads = ThreadPoolExecutor(1, "for its turn")
    begun = threads.submit(work, *given)
    threads.shutdown(wait=False)
    return begun
