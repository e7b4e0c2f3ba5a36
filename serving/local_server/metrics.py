"""Counts of requests, on the page and under the name that TF Serving has for Prometheus."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

PATH = "/monitoring/prometheus/metrics"
_NAME = ":tensorflow:serving:request_count"


class RequestCounts:
    """How many requests each model was asked, and how many of them failed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def counted(self, model: str) -> Iterator[None]:
        """Counts what happens in the block: an exception is an error.

        Args:
            model: name of a model that is served, empty for any other: the counters must not grow with what is asked
                for.
        """
        result = "ERROR"
        try:
            yield
            result = "OK"
        finally:
            with self._lock:
                self._counts[model, result] += 1

    def page(self) -> str:
        """The counts as Prometheus reads them."""
        with self._lock:
            counts = sorted(self._counts.items())
        lines = [f"# TYPE {_NAME} counter"]
        for (model, result), count in counts:
            lines.append(f'{_NAME}{{model_name="{model}",status="{result}"}} {count}')
        return "\n".join(lines) + "\n"
