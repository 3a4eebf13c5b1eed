"""One worker of :mod:`registration.execution`: ``python -P -m registration.worker ADDRESS``."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import suppress

from distributed import Worker

from registration.children import end_with_parent


def main(address: str) -> None:
    """Work for the scheduler at ``address`` until it, or the parent, is gone."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    asyncio.run(_work(address))


async def _work(address: str) -> None:
    async with Worker(address, nthreads=1, memory_limit=None, dashboard=False) as worker:
        loop = asyncio.get_running_loop()
        closing: set[asyncio.Task[object]] = set()
        with suppress(NotImplementedError):  # on Windows, where `terminate` ends a process at once
            loop.add_signal_handler(
                signal.SIGTERM, lambda: closing.add(loop.create_task(worker.close()))
            )
        await worker.finished()


if __name__ == "__main__":
    main(sys.argv[1])
