"""An asyncio event loop in a thread of its own, so that blocking code can call coroutines."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

T = TypeVar("T")


class EventLoopThread:
    """Run coroutines for the threads that call ``run``.

    Threads don't survive a fork: a process that was forked off gets an error, where it would wait for ever.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine; an interrupt of the calling thread, such as Ctrl-C, cancels it.

        Raises:
            RuntimeError: the loop was started in another process, or is closed.
            CancelledError: the loop was closed meanwhile.
        """
        try:
            if os.getpid() != self._process:
                raise RuntimeError("a client can't be used in a process forked off from its own: open one there")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """Cancel what runs, and end the thread; further calls do nothing."""
        if self._loop.is_closed() or os.getpid() != self._process:
            return
        if threading.current_thread() is self._thread:
            # The client's last reference was in a coroutine: the thread can't wait for itself.
            self._loop.call_soon(self._loop.stop)
            return
        try:
            self.run(_cancel_tasks())
        except (RuntimeError, CancelledError):
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()
