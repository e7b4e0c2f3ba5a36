"""Counters of Beam's in-process runner while a pipeline runs, as read in Beam 2.77.

The runner has counters of a bundle, the work of a stage, only at its end, which may be that of the step. In the process
of the run they are read from the bundle's processor, which is what Beam's workers do when they are asked for progress
(apache_beam/runners/worker/sdk_worker.py); worker processes are asked over gRPC, as the runner would ask them itself
(apache_beam/runners/portability/fn_api_runner/fn_runner.py: ProgressRequester). Importing this module imports no Beam.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from noisy_gru.compat.beam import worker_of

# Of every record that a source yields.
RECORDS = "records"
NAMESPACE = "noisy_gru"
INTERVAL = 1.0
_ELEMENTS, _SUM = "beam:metric:element_count:v1", "beam:metric:user:sum_int64:v1"
_READING = "beam:transform:sdf_process_sized_element_and_restrictions:v1"


class BeamCounters:
    """Sums over all bundles of a step, also of those that are going on.

    ``RECORDS``, and each counter of the namespace ``noisy_gru``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._finished: Counter[str] = Counter()
        # By the manager of a bundle that is going on; and what a worker process said of it last.
        self._running: dict[int, Any] = {}
        self._said: dict[int, Counter[str]] = {}

    def clear(self) -> None:
        """Begin with the next step."""
        with self._lock:
            self._finished.clear()

    def totals(self) -> Counter[str]:
        """Return the sums; they never fall within a step but for a moment between two looks."""
        with self._lock:
            total = Counter(self._finished)
            managers = list(self._running.items())
        for key, manager in managers:
            total += self._of(key, manager)
        return total

    def begun(self, manager: Any) -> None:
        """Take up the bundle that a manager runs now."""
        with self._lock:
            self._running[id(manager)] = manager

    def said(self, manager: Any, infos: Iterable[Any]) -> None:
        """Keep what a worker process says of the bundle that a manager runs."""
        counters = count(infos, _reads(_descriptor(manager)))
        with self._lock:
            if id(manager) in self._running:
                self._said[id(manager)] = counters

    def ended(self, manager: Any, result: Any) -> None:
        """Add the counters that the end of a bundle came with; None if it failed."""
        counters: Counter[str] = Counter()
        if result is not None:
            counters = count(result.process_bundle.monitoring_infos, _reads(_descriptor(manager)))
        with self._lock:
            self._running.pop(id(manager), None)
            self._said.pop(id(manager), None)
            self._finished += counters

    def _of(self, key: int, manager: Any) -> Counter[str]:
        cache = getattr(worker_of(manager), "bundle_processor_cache", None)
        if cache is None:
            with self._lock:
                return self._said.get(key, Counter())
        counters: Counter[str] = Counter()
        try:
            for _, processor in list(cache.active_bundle_processors.values()):
                counters += count(processor.monitoring_infos(), _reads(processor.process_bundle_descriptor))
        except RuntimeError:
            # The bundle added a counter while they were listed: the next look has it.
            return Counter()
        return counters


def count(infos: Iterable[Any], reads: set[str]) -> Counter[str]:
    """Sum counters of one bundle.

    Args:
        infos: ``MonitoringInfo`` messages.
        reads: ids of the PCollections that sources write to.
    """
    from apache_beam.metrics.monitoring_infos import extract_counter_value

    found: Counter[str] = Counter()
    for info in infos:
        labels = info.labels
        if info.urn == _ELEMENTS and labels.get("PCOLLECTION") in reads:
            found[RECORDS] += extract_counter_value(info)
        elif info.urn == _SUM and labels.get("NAMESPACE") == NAMESPACE:
            found[labels["NAME"]] += extract_counter_value(info)
    return found


@contextmanager
def counted_bundles(counters: BeamCounters, interval: float = INTERVAL) -> Iterator[None]:
    """Count the bundles of every in-process runner in the block.

    Args:
        counters: that they are added to.
        interval: seconds between two questions to a worker process.
    """
    from apache_beam.runners.portability.fn_api_runner import fn_runner as module

    fn_runner: Any = module
    plain, requester = fn_runner.BundleManager.process_bundle, fn_runner.ProgressRequester
    current = threading.local()

    def process_bundle(manager: Any, *arguments: Any, **options: Any) -> Any:
        counters.begun(manager)
        current.manager, result = manager, None
        try:
            result, splits = plain(manager, *arguments, **options)
            return result, splits
        finally:
            counters.ended(manager, result)

    def requested(worker: Any, instruction: str, frequency: float | None) -> _Requester:
        return _Requester(worker, instruction, counters, current.manager, interval)

    fn_runner.BundleManager.process_bundle, fn_runner.ProgressRequester = process_bundle, requested
    try:
        yield
    finally:
        fn_runner.BundleManager.process_bundle, fn_runner.ProgressRequester = plain, requester


class _Requester:
    """In place of Beam's: asks a worker process for the counters of a bundle that takes long."""

    def __init__(self, worker: Any, instruction: str, counters: BeamCounters, manager: Any, interval: float):
        self._worker, self._instruction, self._counters = worker, instruction, counters
        self._manager, self._interval = manager, interval
        self._done = threading.Event()

    def __enter__(self) -> None:
        # The run's own process has worked through the bundle before this is called.
        if not hasattr(self._worker, "bundle_processor_cache"):
            threading.Thread(target=self._ask, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _ask(self) -> None:
        from apache_beam.portability.api import beam_fn_api_pb2

        messages: Any = beam_fn_api_pb2
        while not self._done.wait(self._interval):
            progress = messages.ProcessBundleProgressRequest(instruction_id=self._instruction)
            request = messages.InstructionRequest(process_bundle_progress=progress)
            try:
                answer = self._worker.control_conn.push(request).get()
            except (RuntimeError, OSError):
                # The worker is gone, which the step itself reports.
                return
            self._counters.said(self._manager, answer.process_bundle_progress.monitoring_infos)


def _descriptor(manager: Any) -> Any:
    return manager.bundle_context_manager.process_bundle_descriptor


def _reads(descriptor: Any) -> set[str]:
    """Return the PCollections that the sources of a stage write to."""
    return {
        name
        for transform in descriptor.transforms.values()
        if transform.spec.urn == _READING
        for name in transform.outputs.values()
    }
