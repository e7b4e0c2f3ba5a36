"""How far a Beam step is, from its counters: rows or sequences, their rate, and the time left.

progress = BeamProgress(counters, input_bytes=1 << 30)
progress.begin("StatisticsGen", {"train": 300, "test": 100})
progress.text()      # "200 of 400 sequences  50/s  about 4 s left"
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from noisy_gru.compat.beam_counters import RECORDS, BeamCounters
from noisy_gru.components.sequence_example_gen.counters import CHUNK_BYTES, FILE_BYTES, ROWS, WRITTEN_BYTES
from noisy_gru.schema.durations import shown_seconds

# Seconds that a rate is of.
WINDOW = 20.0
# Of the bytes: a reader may leave an end that holds no row.
_ALL = 0.999
INGESTION = "SequenceExampleGen"
STEPS = (INGESTION, "StatisticsGen", "Transform", "Evaluator")


class BeamProgress:
    """The progress of the steps of a run.

    Args:
        counters: of the running pipeline.
        input_bytes: of all files that ingestion reads.
        clock: monotonic, in seconds.
    """

    def __init__(self, counters: BeamCounters, input_bytes: int, clock: Callable[[], float] = time.monotonic):
        self.counters = counters
        self._input_bytes = input_bytes
        self._clock = clock
        self._step, self._phase = "", ""
        self._expected: int | None = None
        self._seen: deque[tuple[float, float]] = deque()
        self._lock = threading.Lock()

    def begin(self, step: str, sequences: Mapping[str, int]) -> None:
        """Begin with a step.

        Args:
            step: its name.
            sequences: their number by split, as far as ingestion has counted them.
        """
        train, held_out, test = (sequences.get(split, 0) for split in ("train", "eval", "test"))
        # Transform reads train twice: to analyze it, and to transform it.
        expected = {"StatisticsGen": train + held_out + test, "Transform": 2 * train + held_out, "Evaluator": test}
        with self._lock:
            self.counters.clear()
            self._step, self._phase = step, ""
            self._seen.clear()
            self._expected = expected.get(step) or None

    def text(self) -> str:
        """Return a line on the step; empty where there is nothing to count yet."""
        with self._lock:
            return self._text()

    def _text(self) -> str:
        totals = self.counters.totals()
        if self._step == INGESTION:
            return self._ingestion(totals)
        done = totals[RECORDS]
        if not done:
            return ""
        if self._expected is None or done > self._expected:
            return _joined(f"{done:,} sequences", self._rate("reading", done))
        if done == self._expected:
            return f"all {done:,} sequences are read"
        rate = self._rate("reading", done)
        left = (self._expected - done) / rate if rate else None
        return _joined(f"{done:,} of {self._expected:,} sequences", rate, left)

    def _ingestion(self, totals: Mapping[str, int]) -> str:
        rows, written, chunks = (totals.get(name, 0) for name in (ROWS, WRITTEN_BYTES, CHUNK_BYTES))
        if not rows:
            return ""
        if chunks and written >= chunks:
            return f"sequences of all {rows:,} rows are written"
        if written and chunks:
            done = rows * min(written / chunks, 1.0)
            rate = self._rate("writing", done)
            left = (rows - done) / rate if rate else None
            return _joined(f"sequences of {done:,.0f} of {rows:,} rows written", rate, left)
        rate = self._rate("reading", rows)
        share = totals.get(FILE_BYTES, 0) / self._input_bytes if self._input_bytes else 0.0
        if share > _ALL:
            return f"{rows:,} rows are read"
        # The rows to come are not known, but the bytes are.
        left = rows * (1 - share) / share / rate if rate and 0 < share < 1 else None
        return _joined(f"{rows:,} rows", rate, left)

    def _rate(self, phase: str, done: float) -> float:
        """Return what was done per second lately; 0 if that isn't known yet."""
        if phase != self._phase:
            self._phase = phase
            self._seen.clear()
        now = self._clock()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] >= WINDOW:
            self._seen.popleft()
        begun, before = self._seen[0]
        return max(done - before, 0.0) / (now - begun) if now > begun else 0.0


def _joined(text: str, rate: float, left: float | None = None) -> str:
    parts = [text, f"{rate:,.0f}/s" if rate >= 1 else "", "" if left is None else f"about {shown_seconds(left)} left"]
    return "  ".join(filter(None, parts))
