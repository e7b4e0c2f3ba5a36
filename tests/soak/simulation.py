"""Lives through the days of a stream: the supplier delivers, the night retrains for real, and the model is asked.

>>> with Simulation(tmp_path) as simulation:  # doctest: +SKIP
...     seen = simulation.live(day)
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import numpy as np
import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.cli.retrain_commands import CODES
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.retrain.retraining import retrain_once
from noisy_gru.pipeline.retrain.retraining_report import RetrainResult
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.registry.published_versions import published_versions
from noisy_gru.registry.version_store import Step, no_step
from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.errors import BusyError
from tests.preloaded import forkserver
from tests.soak.expectations import Day
from tests.soak.stream import STEPS, deliver, held_out

HERE = Path(__file__).parent
MODEL = "machines"
FIRST_NIGHT = datetime(2031, 1, 1, 3, tzinfo=UTC)
_DIES_AFTER_EPOCHS = 3
# How far the clock is ahead in a night on which it is wrong.
_AHEAD = timedelta(days=7 * 365)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What happened on a day.

    Attributes:
        done: what became of the (last) retraining.
        died: how the process before it ended, as in ``subprocess``; None: there was none.
        at_death: the versions that were there then.
        before: the versions that were there in the morning.
        after: in the evening.
        was: accuracy of the served model before the retraining, on the day's held-out runs; None: no model.
        becomes: after it.
        went_on: whether the training went on after its third epoch; read now, because logs are pruned.
    """

    done: RetrainResult
    died: int | None
    at_death: Mapping[int, str]
    before: Mapping[int, str]
    after: Mapping[int, str]
    was: float | None
    becomes: float | None
    went_on: bool

    @property
    def met(self) -> tuple[str, ...]:
        """The triggers that were met."""
        reasons = (self.done.plan or {}).get("reasons", ())
        return tuple(each["rule"] for each in reasons if each["kind"] == "trigger" and each["met"])


def retrain(config: Path, root: Path, night: datetime, at: Step = no_step) -> RetrainResult:
    """What ``noisy-gru retrain run`` does, on that night; ``at`` is told each step of publishing before it is done."""
    from noisy_gru.components.pusher import executor

    begun = time.monotonic()

    def now() -> datetime:
        return night + timedelta(seconds=time.monotonic() - begun)

    # gRPC, which runs the steps, would wait for years if the clock of the whole process was another.
    publish = functools.partial(executor.publish, clock=lambda: now().timestamp(), at=at)
    with patch.object(executor, "publish", publish):
        return retrain_once(load_config(config), config_path=config, root=root, now=now)


def die_in_trainer(config: Path, root: Path, night: datetime) -> None:
    """The same in a process that is killed in the middle of the training."""
    from noisy_gru.trainer.callbacks.checkpoint import Checkpoint

    save = Checkpoint.on_epoch_end

    def save_and_die(self: Checkpoint, epoch: int, logs: Any = None) -> None:
        save(self, epoch, logs)
        if epoch + 1 == _DIES_AFTER_EPOCHS:
            os.kill(os.getpid(), signal.SIGKILL)

    with patch.object(Checkpoint, "on_epoch_end", save_and_die):
        retrain(config, root, night)


def asked_in_trainer(config: Path, root: Path, night: datetime) -> None:
    """The same in a process that is asked to end in the middle of the training, as a service manager does."""
    from noisy_gru.trainer.callbacks.checkpoint import Checkpoint

    save = Checkpoint.on_epoch_end

    def save_and_ask(self: Checkpoint, epoch: int, logs: Any = None) -> None:
        save(self, epoch, logs)
        if epoch + 1 == _DIES_AFTER_EPOCHS:
            os.kill(os.getpid(), signal.SIGTERM)

    with patch.object(Checkpoint, "on_epoch_end", save_and_ask):
        done = retrain(config, root, night)
    sys.exit(CODES[done.outcome])


def die_in_publishing(config: Path, root: Path, night: datetime) -> None:
    """The same in a process that is killed when the version has its name, and nothing else knows of it."""

    def die(step: str) -> None:
        if step == "history":
            os.kill(os.getpid(), signal.SIGKILL)

    retrain(config, root, night, die)


DEATHS = {"trainer": die_in_trainer, "asked": asked_in_trainer, "publishing": die_in_publishing}


class Simulation:
    """A pipeline that is left alone.

    Args:
        folder: an empty one; gets the configuration, the spans and the root.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = folder / "config.yaml"
        self.directory = RunDirectory(folder / "root")
        self.model_dir = self.directory.serving / MODEL
        for name in ("config.yaml", "schema.pbtxt"):
            shutil.copy(HERE / name, folder)
        # This module's functions run in children, which pytest doesn't tell where it found them.
        sys.path.append(str(HERE.parents[1]))
        self._context = forkserver()
        self._pool = ProcessPoolExecutor(1, mp_context=self._context)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        sys.path.remove(str(HERE.parents[1]))

    def live(self, day: Day) -> Seen:
        """One day and its night."""
        night = FIRST_NIGHT + timedelta(days=day.number)
        for arrival in day.arrives:
            deliver(self.folder / "spans", arrival.span, day.world, arrival.how, arrival.version)
        if day.happens == "rollback":
            self._roll_back()
        before, was = self.versions(), self.accuracy(day)
        died, at_death = None, before
        if day.happens == "ahead":
            night += _AHEAD
        if day.happens == "second":
            self._second_run(night)
        if day.happens in DEATHS:
            process = self._context.Process(target=DEATHS[day.happens], args=(self.config, self.directory.root, night))
            process.start()
            process.join()
            died, at_death = process.exitcode, self.versions()
            night += timedelta(hours=1)
        done = self._pool.submit(retrain, self.config, self.directory.root, night).result()
        return Seen(
            done=done,
            died=died,
            at_death=at_death,
            before=before,
            after=self.versions(),
            was=was,
            becomes=self.accuracy(day),
            went_on=done.record is not None and "going on after epoch 3" in Path(done.record.log).read_text(),
        )

    def _roll_back(self) -> None:
        """What a person does who does not like the new model."""
        done = CliRunner().invoke(app, ["runs", "rollback", "--root", str(self.directory.root)])
        assert done.exit_code == 0, done.output

    def _second_run(self, night: datetime) -> None:
        """A second retraining while one goes on, as when a person and the schedule meet."""
        with self.directory.locked("a run", model=MODEL), pytest.raises(BusyError, match="in use by process"):
            self._pool.submit(retrain, self.config, self.directory.root, night).result()

    def versions(self) -> dict[int, str]:
        """What a server finds: each version with a hash of all its files."""
        if not self.model_dir.is_dir():
            return {}
        return {version: _hash(self.model_dir / str(version)) for version in published_versions(self.model_dir)}

    def accuracy(self, day: Day) -> float | None:
        """Of the newest version, on runs that nobody trained on, loaded as TF Serving loads it."""
        versions = self.versions()
        if not versions:
            return None
        features, sites, verdicts = held_out(day.world, day.number)
        inputs = {"features": features, "lengths": np.full(len(features), STEPS), "site": sites}
        with SessionModel(self.model_dir / str(max(versions)), threads=1) as model:
            answers = model.run("serving_tensors", inputs)["label_bytes"]
        return float(np.mean([answer.decode() == verdict for answer, verdict in zip(answers, verdicts, strict=True)]))


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder)} {file.stat().st_size}\n".encode() + file.read_bytes())
    return digest.hexdigest()
