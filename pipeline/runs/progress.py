"""Live progress of a run: each step as it starts, its progress, duration and key numbers.

A terminal shows a spinner and a clock for the running step; other streams get plain lines, so that a log stays
readable.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from noisy_gru.pipeline.runs.run_record import StepRecord

LOGGER = "noisy_gru.progress"
PLAIN_INTERVAL = 10.0
_MARKS = {"complete": "[green]✓[/]", "cached": "[cyan]=[/]", "skipped": "[dim]-[/]"}
_NOT_SHOWN = ("learning_rate", "stddev_")  # beginnings of names
_FAILED = "[red]✗[/]"


class LiveProgress:
    """Print the progress of a run.

    Args:
        stream: output stream; a spinner is shown only on a terminal.
        clock: returns seconds, for the interval between progress lines on a plain stream.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic):
        self.console = Console(file=stream, highlight=False, soft_wrap=True)
        self._live = self.console.is_terminal
        self._clock = clock
        self._last = 0.0
        self._progress: Progress | None = None
        self._title = ""

    def line(self, text: str) -> None:
        """Print a line of rich's markup."""
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
        self._last = self._clock()

    def advanced(self, event: Mapping[str, Any]) -> None:
        """Show the progress of a step."""
        text = event_text(event)
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], description=f"{self._title} {escape(text)}")
        elif not self._live and self._clock() - self._last >= PLAIN_INTERVAL:
            self._last = self._clock()
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
        """Remove the spinner."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


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
    """Format an event as one line: ``epoch 3/50  loss 0.31  val_loss 0.42``."""
    parts = []
    for what in ("trial", "member", "epoch"):
        if what in event:
            total = event.get(f"{what}s")
            parts.append(f"{what} {event[what]}{f'/{total}' if total else ''}")
    metrics = event.get("metrics")
    for name, value in metrics.items() if isinstance(metrics, Mapping) else ():
        if not name.startswith(_NOT_SHOWN):
            parts.append(f"{name} {value:.4g}")
    return "  ".join(parts) or str(event.get("message") or event.get("kind", ""))
