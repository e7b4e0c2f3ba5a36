"""The line on a Beam step: of counters as a runner has them, and of a pipeline that runs."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.pipeline.runs.beam_progress import WINDOW, BeamProgress


class Step:
    """Counters and a clock that a test sets."""

    def __init__(self, name: str, sequences: dict[str, int] | None = None, input_bytes: int = 0):
        self.now, self.found = 0.0, Counter()
        self.progress: Any = BeamProgress(self, input_bytes, clock=lambda: self.now)  # type: ignore[arg-type]
        self.progress.begin(name, sequences or {})

    def clear(self) -> None:
        self.found = Counter()

    def totals(self) -> Counter[str]:
        return self.found

    def after(self, seconds: float, **found: int) -> str:
        self.now, self.found = self.now + seconds, Counter(found)
        return self.progress.text()


@pytest.mark.parametrize(
    ("name", "expected"), [("StatisticsGen", "1,000"), ("Transform", "1,500"), ("Evaluator", "100")]
)
def test_sequences_that_a_step_reads(name, expected):
    step = Step(name, {"train": 600, "eval": 300, "test": 100})
    assert step.after(1) == ""
    assert step.after(1, records=50) == f"50 of {expected} sequences"


def test_rate_and_time_left():
    step = Step("StatisticsGen", {"train": 600, "test": 400})
    step.after(5, records=100)
    assert step.after(2, records=300) == "300 of 1,000 sequences  100/s  about 7 s left"
    assert step.after(WINDOW, records=500) == "500 of 1,000 sequences  10/s  about 50 s left"
    assert step.after(1, records=500) == "500 of 1,000 sequences  10/s  about 52 s left"
    assert step.after(0, records=1000) == "all 1,000 sequences are read"
    assert step.after(1, records=1100) == "1,100 sequences  36/s", (
        "more than was counted: nothing is said about the end"
    )


def test_a_step_of_sequences_that_nobody_counted():
    step = Step("StatisticsGen")
    step.after(1, records=100)
    assert step.after(1, records=150) == "150 sequences  50/s"


def test_ingestion_reads_then_writes():
    step = Step("SequenceExampleGen", input_bytes=1000)
    assert step.after(1) == ""
    assert step.after(1, rows=50, file_bytes=250) == "50 rows"
    assert step.after(1, rows=100, file_bytes=500) == "100 rows  50/s  about 2 s left"
    read = {"rows": 200, "file_bytes": 1000, "chunk_bytes": 400}
    assert step.after(2, **read) == "200 rows are read"
    assert step.after(2, **read, written_bytes=100) == "sequences of 50 of 200 rows written"
    assert step.after(2, **read, written_bytes=200) == "sequences of 100 of 200 rows written  25/s  about 4 s left"
    assert step.after(2, **read, written_bytes=400) == "sequences of all 200 rows are written"


def test_parquet_has_no_place_in_bytes():
    step = Step("SequenceExampleGen", input_bytes=1000)
    step.after(1, rows=100)
    assert step.after(1, rows=300) == "300 rows  200/s"


IN_PROCESS = ["--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"]


class Gate:
    """A function of Beam that waits in the middle of a bundle."""

    reached, go_on = threading.Event(), threading.Event()

    def __call__(self, element: bytes) -> int:
        from apache_beam.metrics.metric import Metrics

        Metrics.counter("noisy_gru", "rows").inc(10)
        if element == b"3":
            Gate.reached.set()
            Gate.go_on.wait()
        return 1


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of Beam's own libraries
def test_counters_of_a_bundle_that_is_going_on(tmp_path: Path):
    import apache_beam as beam
    from apache_beam.io import tfrecordio
    from apache_beam.options.pipeline_options import PipelineOptions

    from noisy_gru.compat.beam_counters import BeamCounters, counted_bundles
    from noisy_gru.data.sequences.shards import frame_record

    (tmp_path / "data").write_bytes(b"".join(frame_record(str(number).encode()) for number in range(6)))
    counters = BeamCounters()

    def run() -> None:
        options = PipelineOptions([*IN_PROCESS, "--direct_running_mode=in_memory", "--direct_num_workers=1"])
        with counted_bundles(counters), beam.Pipeline(options=options) as pipeline:
            records = pipeline | tfrecordio.ReadFromTFRecord(str(tmp_path / "data"))
            _ = records | beam.Map(Gate()) | beam.CombineGlobally(sum)

    from apache_beam.runners.portability.fn_api_runner import fn_runner

    plain = fn_runner.BundleManager.process_bundle, fn_runner.ProgressRequester
    running = threading.Thread(target=run)
    running.start()
    Gate.reached.wait()
    try:
        found = counters.totals()
        # The fourth record counts once its bundle is through with it.
        assert found.pop("records") in (3, 4)
        assert found == {"rows": 40}
    finally:
        Gate.go_on.set()
        running.join()
    assert counters.totals() == {"records": 6, "rows": 60}
    counters.clear()
    assert counters.totals() == {}
    assert (fn_runner.BundleManager.process_bundle, fn_runner.ProgressRequester) == plain
