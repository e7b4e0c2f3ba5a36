"""Calls that don't return end the process; each such process is one of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from noisy_gru.pipeline.exit_codes import EXIT_STALLED
from noisy_gru.pipeline.streaming.bounded_calls import BoundedCalls, BoundedLog
from noisy_gru.pipeline.streaming.event_log import Transaction, TransactionAborted

_PROCESS = """
import sys, threading
from noisy_gru.pipeline.streaming.bounded_calls import BoundedCalls
from noisy_gru.pipeline.runs.interrupts import stop_on_signals

def report(text):
    print(text, file=sys.stderr, flush=True)

def stuck():
    calls.step("begin_transaction")
    calls.step("send_offsets_to_transaction")
    print("stuck", flush=True)
    threading.Event().wait()

with stop_on_signals() as stop:
    calls = BoundedCalls(stop.is_set, report, limit={limit}, stop_limit={stop_limit})
    {body}
"""


def process(body: str, *, limit: float, stop_limit: float) -> subprocess.Popen[str]:
    code = _PROCESS.format(body=body, limit=limit, stop_limit=stop_limit)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def check_ended(started: subprocess.Popen[str]) -> None:
    _, errors = started.communicate(timeout=300)
    assert started.returncode == EXIT_STALLED, errors
    assert "has not returned from send_offsets_to_transaction for" in errors
    assert "Nothing is lost" in errors
    assert "begin_transaction" not in errors
    assert "Traceback" not in errors


def test_a_call_that_does_not_return_ends_the_process():
    check_ended(process('calls.run("commit", stuck)', limit=0.2, stop_limit=3600))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_stuck_process(number):
    started = process('calls.run("commit", stuck)', limit=3600, stop_limit=0.2)
    assert started.stdout is not None
    assert started.stdout.readline() == "stuck\n"
    started.send_signal(number)
    check_ended(started)


def test_a_second_signal_ends_it_by_way_of_closing():
    body = """
    try:
        calls.run("commit", stuck)
    finally:
        print("closing", flush=True)
        calls.run("close", lambda: print("never"))
    """
    started = process(body.strip(), limit=3600, stop_limit=3600)
    assert started.stdout is not None
    assert started.stdout.readline() == "stuck\n"
    started.send_signal(signal.SIGINT)
    started.send_signal(signal.SIGTERM)
    assert started.stdout.readline() == "closing\n"
    started.kill()
    started.communicate()


def test_work_without_a_limit_is_waited_for():
    body = """
    def work():
        calls.step(None)
        threading.Event().wait(0.5)
        return "done"
    print(calls.run("consume", work))
    """
    started = process(body.strip(), limit=0.1, stop_limit=3600)
    out, errors = started.communicate(timeout=300)
    assert (out, errors, started.returncode) == ("done\n", "", 0)


class _Log:
    """Records the calls, and the threads that they are made in."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.committed: list[Transaction] = []
        self.closed = False

    def poll(self, most: int, seconds: float) -> list[Any]:
        self.threads.add(threading.get_ident())
        return [(most, seconds)]

    def commit(self, transaction: Transaction) -> None:
        self.threads.add(threading.get_ident())
        if not transaction:
            raise TransactionAborted("the broker is away")
        self.committed.append(transaction)

    def lag(self) -> int:
        return 7

    def at_end(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def bounded(open_log: Callable[[], Any]) -> BoundedLog:
    return BoundedLog(BoundedCalls(lambda: False, lambda text: pytest.fail(text)), open_log)


def test_a_bounded_log_does_what_the_log_does_in_one_thread():
    inner = _Log()
    log = bounded(lambda: inner)
    assert log.poll(3, 0.5) == [(3, 0.5)]
    transaction = Transaction(offsets={0: 1})
    log.commit(transaction)
    with pytest.raises(TransactionAborted, match="the broker is away"):
        log.commit(Transaction())
    assert inner.committed == [transaction]
    assert log.lag() == 7
    assert log.at_end()
    log.close()
    assert inner.closed
    assert len(inner.threads) == 1
    assert threading.get_ident() not in inner.threads


def test_an_error_of_opening_is_raised():
    def refuse() -> Any:
        raise TransactionAborted("no")

    with pytest.raises(TransactionAborted, match="no"):
        bounded(refuse)
