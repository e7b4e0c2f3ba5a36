"""Callbacks that report a training: log events, a history file, TensorBoard files; and one that stops at a NaN loss."""

from __future__ import annotations

import csv
import io
import logging
import math
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

import keras
import tensorflow as tf

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.training_config import EarlyStoppingConfig

Event: Any = tf.compat.v1.Event
Summary: Any = tf.compat.v1.Summary

progress_logger = logging.getLogger("noisy_gru.progress")
# Seconds between two reports within an epoch.
_BATCH_INTERVAL = 0.5


def report(message: str, *, level: int = logging.INFO, **event: Any) -> None:
    """Log a record to `noisy_gru.progress`, whose `event` attribute holds the same as fields."""
    progress_logger.log(level, message, extra={"event": event})


class EarlyStopping(Protocol):
    """Early stopping, as far as it bounds the time left; ``wait`` counts the epochs since the best one."""

    config: EarlyStoppingConfig
    wait: int
    stopped: bool


class Progress(keras.callbacks.Callback):
    """Reports each epoch: epoch (from 1), epochs, the logs, its duration, and bounds of the remaining seconds.

    Within an epoch it reports batch and loss at the level DEBUG, for a terminal, at most twice a second.

    Args:
        epochs: most epochs of the training.
        member: number (from 1) of an ensemble's member, and how many there are; None without members.
        best: early stopping, a callback before this one; None without.
        clock: monotonic, in seconds.
    """

    # Keras then calls the batch hook beside the training, as if there were none.
    async_safe = True

    def __init__(
        self,
        *,
        epochs: int,
        member: tuple[int, int] | None = None,
        best: EarlyStopping | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__()
        self.epochs = epochs
        self.member = member
        self.best = best
        self.clock = clock
        self._start = self._reported = 0.0
        self._epoch = 0
        self._durations: list[float] = []
        self._bounds: dict[str, float] = {}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start, self._epoch = self.clock(), epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not progress_logger.isEnabledFor(logging.DEBUG):
            return
        now = self.clock()
        if now - self._reported < _BATCH_INTERVAL:
            return
        self._reported = now
        batches = (self.params or {}).get("steps")
        report(
            f"epoch {self._epoch + 1} batch {batch + 1}",
            level=logging.DEBUG,
            kind="batch",
            **self._place(),
            epoch=self._epoch + 1,
            epochs=self.epochs,
            batch=batch + 1,
            **({"batches": batches} if batches else {}),
            metrics={name: float(value) for name, value in (logs or {}).items() if name == "loss"},
            **({"seconds": self._durations[-1]} if self._durations else {}),
            **self._bounds,
        )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._durations.append(self.clock() - self._start)
        # The first epoch compiles, so later ones predict better.
        recent = self._durations[-3:] if len(self._durations) < 5 else self._durations[-4:]
        left = self.epochs - epoch - 1
        remaining = left * min(recent)
        self._bounds = {"remaining_seconds": remaining}
        if self.best is not None:
            # If no epoch improves on the best one from now on.
            soonest = 0 if self.best.stopped else min(left, self.best.config.patience - self.best.wait)
            self._bounds["soonest_seconds"] = soonest * min(recent)
        values = {name: float(value) for name, value in (logs or {}).items()}
        shown = " ".join(f"{name}={value:.4g}" for name, value in values.items())
        number, total = self.member or (1, 1)
        place = f"member {number}/{total} " if self.member else ""
        longest = f"at most {remaining:.0f} s left{' of this member' if self.member else ''}"
        report(
            f"{place}epoch {epoch + 1}/{self.epochs} {shown} ({self._durations[-1]:.1f} s, {longest})",
            kind="epoch",
            **self._place(),
            epoch=epoch + 1,
            epochs=self.epochs,
            metrics=values,
            seconds=self._durations[-1],
            **self._bounds,
        )

    def _place(self) -> dict[str, int]:
        return {"member": self.member[0], "members": self.member[1]} if self.member else {}


class FiniteLoss(keras.callbacks.Callback):
    """Stop a training with a ConfigError when its loss is NaN or infinite."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise ConfigError(
                f"The training loss became {loss} in epoch {epoch + 1}. "
                "Lower training.learning_rate, or set training.clip_norm."
            )


class HistoryFile(keras.callbacks.Callback):
    """Write `history.csv`: a row for each epoch, also of before an interruption, with the learning rate at its end.

    Args:
        path: of the file.
    """

    def __init__(self, path: str):
        super().__init__()
        self.path = path
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        row = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": epoch + 1, **row, "learning_rate": float(self.model.optimizer.learning_rate)})
        self.write()

    def write_as(self, path: str) -> None:
        """Write all rows to this path from now on."""
        if path != self.path:
            self.path = path
            self.write()

    def write(self) -> None:
        """Write all rows."""
        if not self.rows:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self.rows[-1]), restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        with tf.io.gfile.GFile(self.path, "w") as file:
            file.write(text.getvalue())


class TensorBoardLog(keras.callbacks.Callback):
    """Write the logs of each epoch for TensorBoard, under Keras' names: `epoch_<name>` in `train/` and `validation/`.

    Keras' own callback needs the TensorBoard package; this one does not.

    Args:
        folder: for the event files.
    """

    def __init__(self, folder: str):
        super().__init__()
        self.folder = folder
        self._writers: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        for name, value in (logs or {}).items():
            part = "validation" if name.startswith("val_") else "train"
            tag = f"epoch_{name.removeprefix('val_')}"
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=float(value))])
            self._write(part, Event(wall_time=time.time(), step=epoch, summary=summary))
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _write(self, part: str, event: Any) -> None:
        if part not in self._writers:
            tf.io.gfile.makedirs(f"{self.folder}/{part}")
            now = time.time()
            path = f"{self.folder}/{part}/events.out.tfevents.{int(now)}.{socket.gethostname()}"
            self._writers[part] = tf.io.TFRecordWriter(path)
            self._writers[part].write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        self._writers[part].write(event.SerializeToString())
