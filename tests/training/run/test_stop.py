"""Signals: the first one asks for a checkpoint, and only a second Ctrl-C does not wait for it."""

from __future__ import annotations

import os
import signal

import pytest

from training.run.stop import STOPPING, stop_on_signals


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_any_number_of_terminations_is_one_request(first: signal.Signals) -> None:
    said: list[str] = []
    with stop_on_signals(said.append) as stop:
        for number in (first, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop.requested
    assert said == [STOPPING]


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_ctrl_c_interrupts(first: signal.Signals) -> None:
    with stop_on_signals(print):
        os.kill(os.getpid(), first)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_earlier_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals(print):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
