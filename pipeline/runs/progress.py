"""Live progress of a run: each step as it starts, its progress, duration and key numbers.

A terminal shows a spinner and a clock for the running step; other streams get plain lines, so that a log stays
readable.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from noisy_gru.pipeline.runs.run_record import StepRecord
from noisy_gru.schema.durations import shown_seconds

LOGGER = "noisy_gru.progress"
PLAIN_INTERVAL = 10.0
# Seconds between two looks at a step that is watched.
LIVE_INTERVAL = 0.5
_MARKS = {"complete": "[green]✓[/]", "cached": "[cyan]=[/]", "skipped": "[dim]-[/]"}
_NOT_SHOWN = ("learning_rate", "stddev_")  # beginnings of names
_BESIDE = len("* ") + len(" 0:00:00")
_FAILED = "[red]✗[/]"


class LiveProgress:
    """Print the progress of a run.

    Args:
        stream: output stream; a spinner is shown only on a terminal.
        clock: returns seconds, for the interval between progress lines on a plain stream.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic):
        self.console = Console(file=stream, highlight=False, soft_wrap=True)
        self._live = self.console.is_terminal and not self.console.is_dumb_terminal
        self._clock = clock
        self._last, self._shown = 0.0, ""
        self._progress: Progress | None = None
        self._title = ""
        self._watched: threading.Event | None = None
        self._lock = threading.RLock()

    def line(self, text: str) -> None:
        """Print a line of rich's markup."""
        with self._lock:
            self.console.print(text)

    def started(self, name: str, number: int, total: int) -> None:
        """Show the start of a step."""
        place = f"{number:>2}/{total}" if total else ""
        self._title = f"{place:>5} {name:<20}"
        if self._live:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=self.console,
                transient=True,
                # Output of libraries belongs in the log.
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._progress.add_task(self._title, total=None)
            self._progress.start()
        else:
            self.line(f"  {escape(self._title)} starts")
        self._last, self._shown = self._clock(), ""

    def advanced(self, event: Mapping[str, Any]) -> None:
        """Show the progress of a step."""
        self._show(event_text(event))

    def watch(self, text: Callable[[], str]) -> None:
        """Show until the step ends what a function says of it: on a terminal twice a second, else once in a while.

        Args:
            text: called in a thread of its own; an empty text is not shown.
        """
        self._watched = done = threading.Event()

        def look() -> None:
            while not done.wait(LIVE_INTERVAL if self._live else self._wait()):
                found = text()
                with self._lock:
                    if found and not done.is_set():
                        self._show(found)

        threading.Thread(target=look, name="progress", daemon=True).start()

    def _cut(self, text: str) -> str:
        """Cut a text so that it is one line with spinner and clock, however narrow the terminal is."""
        room = max(self.console.width - _BESIDE, 1)
        return text if cell_len(text) <= room else set_cell_size(text, room - 1) + "…"

    def _wait(self) -> float:
        """Seconds until a plain stream gets its next line."""
        return max(self._last + PLAIN_INTERVAL - self._clock(), LIVE_INTERVAL)

    def _show(self, text: str) -> None:
        with self._lock:
            self._show_now(text)

    def _show_now(self, text: str) -> None:
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], description=escape(self._cut(f"{self._title} {text}")))
        elif not self._live and text != self._shown and self._clock() - self._last >= PLAIN_INTERVAL:
            self._last, self._shown = self._clock(), text
            self.line(f"  {escape(self._title)} {escape(text)}")

    def finished(self, step: StepRecord) -> None:
        """Show the end of a step."""
        self.stop()
        if step.status == "cached":
            taken = "cached"
        elif step.status == "skipped":
            taken = "skipped"
        else:
            taken = f"{step.seconds:.1f} s"
        self.line(f"{_MARKS.get(step.status, _FAILED)} {escape(self._title)} {taken:>8}  {escape(step.summary)}")

    def stop(self) -> None:
        """Remove the spinner, and watch no longer."""
        with self._lock:
            if self._watched is not None:
                self._watched.set()
                self._watched = None
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


@contextmanager
def events_shown(live: LiveProgress) -> Iterator[None]:
    """Show the events of the logger ``noisy_gru.progress`` in the block, also those within an epoch."""
    logger, handler = logging.getLogger(LOGGER), ProgressHandler(live)
    level = logger.level
    logger.addHandler(handler)
    # Logs keep their own level.
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class ProgressHandler(logging.Handler):
    """Pass the events of the logger ``noisy_gru.progress`` to the live progress."""

    def __init__(self, live: LiveProgress):
        super().__init__()
        self.live = live

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if isinstance(event, Mapping):
            self.live.advanced(event)


def event_text(event: Mapping[str, Any]) -> str:
    """Format an event as one line: ``epoch 3/50  1.2 s/epoch  12 s to 56 s left  loss 0.31  val_loss 0.42``."""
    parts = []
    for what, of in (("trial", "trials"), ("member", "members"), ("epoch", "epochs"), ("batch", "batches")):
        if what in event:
            total = event.get(of)
            parts.append(f"{what} {event[what]}{f'/{total}' if total else ''}")
    # Before the metrics, whose end a narrow terminal cuts off.
    if "epoch" in event and "seconds" in event:
        parts.append(f"{event['seconds']:.3g} s/epoch")
    if event.get("remaining_seconds"):
        parts.append(_left(event["remaining_seconds"], event.get("soonest_seconds")))
    metrics = event.get("metrics")
    for name, value in metrics.items() if isinstance(metrics, Mapping) else ():
        if not name.startswith(_NOT_SHOWN):
            parts.append(f"{name} {value:.4g}")
    return "  ".join(parts) or str(event.get("message") or event.get("kind", ""))


def _left(longest: float, soonest: float | None) -> str:
    """Format the time left: all epochs, or fewer where early stopping ends the training."""
    most = shown_seconds(longest)
    if soonest is None:
        return f"about {most} left"
    least = shown_seconds(soonest)
    return f"about {most} left" if least == most else f"{least} to {most} left"
