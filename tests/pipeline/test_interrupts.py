"""What was asked to end ends, wherever Python is just then."""

from __future__ import annotations

import signal
import threading
import time
import weakref

import pytest

from noisy_gru.pipeline.interrupts import signals_as_interrupts


class Thing:
    """Something to refer to, that can tell of its end."""

    def __init__(self, end=lambda: None):
        self.end = end

    def __del__(self):
        self.end()


def terminate(*_: object) -> None:
    signal.raise_signal(signal.SIGTERM)


def test_a_termination_is_an_interrupt_and_afterwards_what_it_was_before():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), signals_as_interrupts(signal.SIGTERM):
        terminate()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_in_a_callback_is_not_lost(number):
    told = []

    def die(*_: object) -> None:
        told.append(number)
        # As whoever asks does: to the process, while it is here.
        signal.pthread_kill(threading.get_ident(), number)
        time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt), signals_as_interrupts(signal.SIGTERM):
        thing = Thing()
        reference = weakref.ref(thing, die)
        del thing
        assert told == [number]
        assert reference() is None
        for _ in range(1000):
            time.sleep(0.01)
    with pytest.raises(KeyboardInterrupt), signals_as_interrupts(signal.SIGTERM):
        thing = Thing(die)
        del thing
        assert told == [number, number]
        for _ in range(1000):
            time.sleep(0.01)


def test_an_interrupt_in_a_callback_at_the_very_end_is_not_lost():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), signals_as_interrupts(signal.SIGTERM):
        thing = Thing(terminate)
        del thing
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_tells_which_signal_came(number):
    with pytest.raises(KeyboardInterrupt), signals_as_interrupts(signal.SIGTERM, signal.SIGINT) as received:
        signal.raise_signal(number)
    assert received == [number]


def test_what_else_is_wrong_in_a_callback_is_told_as_before(monkeypatch):
    told = []
    monkeypatch.setattr("sys.unraisablehook", told.append)

    def fail() -> None:
        raise ValueError("no")

    with signals_as_interrupts(signal.SIGTERM):
        thing = Thing(fail)
        del thing
    assert [each.exc_type for each in told] == [ValueError]


def test_outside_of_the_main_thread_nothing_is_set():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def enter() -> None:
        with signals_as_interrupts(signal.SIGTERM):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
