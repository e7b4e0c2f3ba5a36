"""Request counters for Prometheus, with TF Serving's path and metric name."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

PATH = "/monitoring/prometheus/metrics"
_NAME = ":tensorflow:serving:request_count"


class RequestCounts:
    """Counts requests by model and status.

    Not `prometheus_client`: its counters end in `_total`, TF Serving's don't.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def counted(self, model: str) -> Iterator[None]:
        """Count the block as one request; an exception is an error.

        Args:
            model: name of a served model, empty for any other, so that unknown names make no counters.
        """
        result = "ERROR"
        try:
            yield
            result = "OK"
        finally:
            with self._lock:
                self._counts[model, result] += 1

    def page(self) -> str:
        """Return the counters in Prometheus' text format."""
        with self._lock:
            counts = sorted(self._counts.items())
        lines = [f"# TYPE {_NAME} counter"]
        for (model, result), count in counts:
            lines.append(f'{_NAME}{{model_name="{model}",status="{result}"}} {count}')
        return "\n".join(lines) + "\n"
