"""The live record of a run on the terminal: each step as it starts, its progress, its time and its key numbers.

On a terminal the running step has a spinner and a clock; elsewhere there are plain lines, so that a log stays readable.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from noisy_gru.pipeline.runs.run_directory import StepRecord

LOGGER = "noisy_gru.progress"
PLAIN_INTERVAL = 10.0
_MARKS = {"complete": "[green]✓[/]", "cached": "[cyan]=[/]", "skipped": "[dim]-[/]"}
_NOT_SHOWN = ("learning_rate", "stddev_factor")
_FAILED = "[red]✗[/]"


class LiveProgress:
    """Shows a run.

    Args:
        stream: where to write; a spinner is shown only if it is a terminal.
        clock: seconds, for the distance between lines of progress on a plain stream.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic):
        self.console = Console(file=stream, highlight=False, soft_wrap=True)
        self._live = self.console.is_terminal
        self._clock = clock
        self._last = 0.0
        self._progress: Progress | None = None
        self._title = ""

    def line(self, text: str) -> None:
        """Writes a line of rich's markup."""
        self.console.print(text)

    def started(self, name: str, number: int, total: int) -> None:
        """A step starts."""
        place = f"{number:>2}/{total}" if total else ""
        self._title = f"{place:>5} {name:<20}"
        if self._live:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=self.console,
                transient=True,
                # What libraries print belongs into the log.
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._progress.add_task(self._title, total=None)
            self._progress.start()
        else:
            self.line(f"  {escape(self._title)} starts")
        self._last = self._clock()

    def advanced(self, event: Mapping[str, Any]) -> None:
        """A step says how far it is."""
        text = event_text(event)
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], description=f"{self._title} {escape(text)}")
        elif not self._live and self._clock() - self._last >= PLAIN_INTERVAL:
            self._last = self._clock()
            self.line(f"  {escape(self._title)} {escape(text)}")

    def finished(self, step: StepRecord) -> None:
        """A step ended, well or not."""
        self.stop()
        if step.status == "cached":
            taken = "cached"
        elif step.status == "skipped":
            taken = "skipped"
        else:
            taken = f"{step.seconds:.1f} s"
        self.line(f"{_MARKS.get(step.status, _FAILED)} {escape(self._title)} {taken:>8}  {escape(step.summary)}")

    def stop(self) -> None:
        """Takes the spinner away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class ProgressHandler(logging.Handler):
    """Hands the events of the logger ``noisy_gru.progress`` to the record."""

    def __init__(self, record: LiveProgress):
        super().__init__()
        self.record = record

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if isinstance(event, Mapping):
            self.record.advanced(event)


def event_text(event: Mapping[str, Any]) -> str:
    """One line for an event: ``epoch 3/50  loss 0.31  val_loss 0.42``."""
    parts = []
    for what in ("trial", "epoch"):
        if what in event:
            total = event.get(f"{what}s")
            parts.append(f"{what} {event[what]}{f'/{total}' if total else ''}")
    metrics = event.get("metrics")
    for name, value in metrics.items() if isinstance(metrics, Mapping) else ():
        if name not in _NOT_SHOWN:
            parts.append(f"{name} {value:.4g}")
    return "  ".join(parts) or str(event.get("message") or event.get("kind", ""))
