"""What is changed in a process of the simulated year: its clock, and where it is killed. All else is as users have it.

The clock is handed in where the product takes one: ``retrain_once``, ``ScheduleLoop`` and ``publish`` have it as a
keyword. Moving the clock of the whole process instead would let gRPC, which runs the steps, wait for years.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from soak_clock import WaitingClock, WorldClock

DIES_AFTER_EPOCHS = 3


def prepare(folder: Path, words: Sequence[str]) -> None:
    """Called before the first line of the command.

    Args:
        folder: of the simulation.
        words: the command line.
    """
    from noisy_gru.pipeline.retrain.retraining import record_killed, retrain_once
    from noisy_gru.pipeline.retrain.schedule_loop import ScheduleLoop
    from noisy_gru.registry.publish import publish

    clock = WorldClock(folder)
    _defaults(retrain_once, now=clock.now)
    _defaults(record_killed, now=clock.now)
    _defaults(publish, clock=lambda: clock.now().timestamp())
    if "schedule" in words:
        waiting = WaitingClock(clock, folder / "seen")
        _defaults(ScheduleLoop.__init__, now=waiting.now, sleep=waiting.sleep)
    elif "retrain" in words:
        with (folder / "calls.jsonl").open("a") as calls:
            call = {"at": clock.now().isoformat(), "parent": os.getppid(), "words": list(words)}
            calls.write(json.dumps(call) + "\n")
        fault = folder / "fault"
        if fault.exists():
            name = fault.read_text()
            fault.unlink()
            _defaults(retrain_once, runner=_runner(FAULTS[name], folder, words))


def _defaults(function: Callable[..., Any], **values: Any) -> None:
    """Other defaults for keywords that the command line leaves alone."""
    defaults: Any = function.__kwdefaults__
    if not values.keys() <= defaults.keys():
        raise TypeError(f"{function.__qualname__} has no {', '.join(values.keys() - defaults.keys())}")
    defaults.update(values)


def _runner(fault: Callable[[Path, Sequence[str]], None], folder: Path, words: Sequence[str]) -> Callable[..., Any]:
    """What runs the steps, with the fault in it."""

    def run(*args: Any, **options: Any) -> Any:
        from noisy_gru.pipeline.runs.running import run_config

        fault(folder, words)
        return run_config(*args, **options)

    return run


def _after_epochs(act: Callable[[], None]) -> None:
    """Lets the Trainer do something after its third epoch, whose checkpoint is on disk then."""
    from noisy_gru.trainer.callbacks.checkpoint import Checkpoint

    save = Checkpoint.on_epoch_end

    def save_and_act(self: Checkpoint, epoch: int, logs: Any = None) -> None:
        save(self, epoch, logs)
        if epoch + 1 == DIES_AFTER_EPOCHS:
            act()

    patch.object(Checkpoint, "on_epoch_end", save_and_act).start()


def _lose_power() -> None:
    """The machine goes down: the scheduler and this process at once."""
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _power(folder: Path, words: Sequence[str]) -> None:
    _after_epochs(_lose_power)


def _killed(folder: Path, words: Sequence[str]) -> None:
    _after_epochs(lambda: os.kill(os.getpid(), signal.SIGKILL))


def _requested(folder: Path, words: Sequence[str]) -> None:
    """A service manager asks the scheduler to end, which hands it on; if it didn't, the training would go on."""

    def ask() -> None:
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(5)

    _after_epochs(ask)


def _publishing(folder: Path, words: Sequence[str]) -> None:
    """When the version has its name, and nothing else knows of it."""
    from noisy_gru.registry.publish import publish

    def die(step: str) -> None:
        if step == "history":
            _lose_power()

    _defaults(publish, at=die)


def _second(folder: Path, words: Sequence[str]) -> None:
    """A person starts the same retraining by hand in the middle of it."""

    def start() -> None:
        command = [sys.executable, *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        (folder / "second.json").write_text(json.dumps({"code": done.returncode, "stderr": done.stderr}))

    _after_epochs(start)


FAULTS: dict[str, Callable[[Path, Sequence[str]], None]] = {
    "power": _power,
    "killed": _killed,
    "asked": _requested,
    "publishing": _publishing,
    "second": _second,
}
