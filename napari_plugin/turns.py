"""Do one thing after another, each in a turn of its own, so that the window answers meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from qtpy.QtCore import QObject, QTimer

TURN_MS = 10


class Turns:
    """What waits for its turn. It goes with ``window``: a closed one needs nothing done any more."""

    def __init__(self, window: QObject) -> None:
        self._waiting: deque[Callable[[], object]] = deque()
        self._timer = QTimer(window)
        self._timer.setInterval(TURN_MS)
        self._timer.timeout.connect(self._next)

    @property
    def are_over(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def add(self, *acts: Callable[[], object]) -> None:
        """Do these when what waits already is done."""
        self._waiting.extend(acts)
        self._timer.start()

    def finish(self) -> None:
        """Do all that waits at once."""
        while self._waiting:
            self._waiting.popleft()()

    def _next(self) -> None:
        if self._waiting:
            self._waiting.popleft()()
        else:
            self._timer.stop()
