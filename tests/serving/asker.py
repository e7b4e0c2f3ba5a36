"""One way to write a test for the client that waits and for the one with asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from noisy_gru.serving.async_client import AsyncClient
from noisy_gru.serving.client import Client


class Asker:
    """A client of either kind, `blocking` or `asyncio`; every answer is waited for, and ``waits`` are not slept."""

    def __init__(self, kind: str, stack: ExitStack, **defaults: Any) -> None:
        self.stack, self.defaults = stack, defaults
        self.waits: list[float] = []
        self.loop = stack.enter_context(asyncio.Runner()) if kind == "asyncio" else None
        self.client: Any = None

    def open(self, target: str, **options: Any) -> Asker:
        async def async_sleep(seconds: float) -> None:
            self.waits.append(seconds)

        options = {**self.defaults, **options}
        if self.loop is None:
            self.client = self.stack.enter_context(Client(target, sleep=self.waits.append, **options))
        else:
            self.client = AsyncClient(target, sleep=async_sleep, **options)
            self.stack.callback(lambda: self("close"))
        return self

    def __call__(self, method: str, *arguments: Any, of: Any = None, **options: Any) -> Any:
        """Call a method of the client, or of another object of its kind."""
        return self.wait(lambda: getattr(of or self.client, method)(*arguments, **options))

    def wait(self, call: Callable[[], Any]) -> Any:
        """What a call gives, or the coroutine that it gives."""

        async def main() -> Any:
            return await call()

        return call() if self.loop is None else self.loop.run(main())
