"""The event loop behind the blocking REST client: results, interrupts, closing, forks, clients that nobody closes."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future

import pytest

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.serving.client.client import Client
from noisy_gru.serving.client.event_loop_thread import EventLoopThread
from tests.patience import PATIENCE


@pytest.fixture
def thread() -> Iterator[EventLoopThread]:
    thread = EventLoopThread("tested")
    yield thread
    thread.close()


class Endless:
    """A coroutine that only a cancellation ends."""

    def __init__(self) -> None:
        self.started, self.cancelled = threading.Event(), threading.Event()

    async def run(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


def test_results_and_errors_come_back(thread: EventLoopThread) -> None:
    async def divide(one: int, other: int) -> float:
        await asyncio.sleep(0)
        return one / other

    assert thread.run(divide(6, 3)) == 2
    with pytest.raises(ZeroDivisionError):
        thread.run(divide(1, 0))


def test_an_interrupt_cancels_the_coroutine(thread: EventLoopThread) -> None:
    endless, main = Endless(), threading.get_ident()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def when_it_waits() -> None:
        assert endless.started.wait(PATIENCE)
        time.sleep(0.3)
        signal.pthread_kill(main, signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, interrupt)
    interrupting = threading.Thread(target=when_it_waits)
    try:
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            thread.run(endless.run())
    finally:
        interrupting.join()
        signal.signal(signal.SIGALRM, before)
    assert endless.cancelled.wait(PATIENCE)


def test_closing_cancels_what_other_threads_wait_for(thread: EventLoopThread) -> None:
    endless, outcome = Endless(), Future[BaseException]()

    def wait() -> None:
        try:
            thread.run(endless.run())
        except CancelledError as error:
            outcome.set_result(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert endless.started.wait(PATIENCE)
    thread.close()
    waiting.join(PATIENCE)
    assert isinstance(outcome.result(0), CancelledError)
    with pytest.raises(RuntimeError, match="closed"):
        thread.run(Endless().run())


def test_a_fork_gets_an_error_and_does_not_wait_for_ever() -> None:
    code = """
import asyncio, os
from noisy_gru.serving.client.event_loop_thread import EventLoopThread
thread = EventLoopThread("parent")
assert thread.run(asyncio.sleep(0, 7)) == 7
child = os.fork()
if not child:
    try:
        thread.run(asyncio.sleep(0))
    except RuntimeError as error:
        print(error, flush=True)
    thread.close()
    os._exit(3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
thread.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout == "a client can't be used in a process forked off from its own: open one there\n"


def test_a_client_that_nobody_closed_ends_its_thread() -> None:
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]}
    dataset = DatasetConfig.model_validate({"data": data, "task": {"kind": "regression", "label": "y"}})
    before = set(threading.enumerate())
    client = Client("127.0.0.1:1", dataset=dataset, model_name="m", transport="rest", attempts=1)
    assert client.health() is False
    (started,) = (each for each in set(threading.enumerate()) - before if each.name == "noisy-gru-rest")
    del client
    gc.collect()
    started.join(PATIENCE)
    assert not started.is_alive()
