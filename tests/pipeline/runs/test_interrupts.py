"""What was asked to end ends, wherever Python is just then."""

from __future__ import annotations

import signal
import threading
import time
import weakref

import pytest

from noisy_gru.pipeline.runs.interrupts import deferred_signals, signals_as_interrupts, stop_on_signals


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
    reported = []

    def die(*_: object) -> None:
        reported.append(number)
        # As whoever asks does: to the process, while it is here.
        signal.pthread_kill(threading.get_ident(), number)
        time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt), signals_as_interrupts(signal.SIGTERM):
        thing = Thing()
        reference = weakref.ref(thing, die)
        del thing
        assert reported == [number]
        assert reference() is None
        for _ in range(1000):
            time.sleep(0.01)
    with pytest.raises(KeyboardInterrupt), signals_as_interrupts(signal.SIGTERM):
        thing = Thing(die)
        del thing
        assert reported == [number, number]
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
    reported = []
    monkeypatch.setattr("sys.unraisablehook", reported.append)

    def fail() -> None:
        raise ValueError("no")

    with signals_as_interrupts(signal.SIGTERM):
        thing = Thing(fail)
        del thing
    assert [each.exc_type for each in reported] == [ValueError]


def test_outside_of_the_main_thread_nothing_is_set():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def enter() -> None:
        with signals_as_interrupts(signal.SIGTERM):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]


def test_what_is_held_is_done_whole_and_the_signal_is_raised_where_it_may_be():
    done = []
    with deferred_signals(signal.SIGTERM) as signals, signals.deferring():
        terminate()
        done.append("begun")
        with pytest.raises(KeyboardInterrupt), signals.raising():
            done.append("never")
        terminate()
        done.append("closed")
    assert done == ["begun", "closed"]
    assert signals.received == [signal.SIGTERM, signal.SIGTERM]


def test_blocks_within_each_other_are_one():
    """As `noisy-gru retrain run` has them: the command, the retraining, the run."""
    with signals_as_interrupts(signal.SIGTERM) as outer, deferred_signals(signal.SIGTERM, signal.SIGINT) as signals:
        with signals.deferring():
            terminate()
            with pytest.raises(KeyboardInterrupt), deferred_signals(signal.SIGTERM) as inner, inner.raising():
                time.sleep(1)
            with inner.raising(pending=False):
                terminate_handled = list(outer)
        with pytest.raises(KeyboardInterrupt):
            terminate()
    assert terminate_handled == [signal.SIGTERM]
    assert outer == [signal.SIGTERM, signal.SIGTERM]


def test_an_interrupt_that_a_library_swallows_is_raised_again(monkeypatch):
    monkeypatch.setattr("noisy_gru.pipeline.runs.interrupts._STILL_THERE_SECONDS", 0.1)
    swallowed = 0
    thread = threading.get_ident()
    with (
        pytest.raises(KeyboardInterrupt),
        deferred_signals(signal.SIGTERM) as signals,
        signals.raising(until_it_ends=True),
    ):
        threading.Timer(0.1, signal.pthread_kill, (thread, signal.SIGTERM)).start()
        while swallowed < 3:
            try:
                time.sleep(10)
            except KeyboardInterrupt:
                swallowed += 1
        time.sleep(10)
    assert signals.received == [signal.SIGTERM]
    # Not where it may not be raised.
    time.sleep(0.3)


def test_a_second_interrupt_is_not_raised_where_the_first_is_being_worked_off(monkeypatch):
    """As the scheduler has it: it waits for its child to end its step."""
    monkeypatch.setattr("noisy_gru.pipeline.runs.interrupts._STILL_THERE_SECONDS", 0.05)
    with signals_as_interrupts(signal.SIGTERM):
        with pytest.raises(KeyboardInterrupt):
            terminate()
        time.sleep(0.3)


def test_what_a_shell_told_a_process_to_ignore_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals_as_interrupts(signal.SIGTERM, signal.SIGINT) as received:
            signal.raise_signal(signal.SIGINT)
        assert received == []
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_first_signal_stops_and_the_second_interrupts():
    # As in the command line, whose signals interrupt otherwise.
    with deferred_signals(signal.SIGTERM, signal.SIGINT) as signals, signals.raising():
        with pytest.raises(KeyboardInterrupt), stop_on_signals() as stop:
            assert not stop.is_set()
            terminate()
            assert stop.is_set()
            terminate()
        with pytest.raises(KeyboardInterrupt):
            terminate()
