"""One way to write a test for the client that waits and for the one with asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from noisy_gru.serving.client.async_client import AsyncClient
from noisy_gru.serving.client.client import Client


def example_of(feature: str, size: int = 0) -> bytes:
    """A serialized tf.Example of an empty feature, by protobuf's encoding; an unknown field fills it up to ``size``."""
    name = feature.encode()
    entry = b"\x0a" + bytes([len(name)]) + name + b"\x12\x02\x12\x00"
    content = b"\x0a" + bytes([len(entry) + 2]) + b"\x0a" + bytes([len(entry)]) + entry
    filler = size - len(content)
    if filler <= 0:
        return content
    # Fields 15 of two bytes, a varint; a byte that is left over goes into a longer form of the last zero.
    return content + b"\x78\x00" * (filler // 2 - filler % 2) + b"\x78\x80\x00" * (filler % 2)


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
