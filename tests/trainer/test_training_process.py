"""A training that is killed and goes on ends with the weights of one that was left alone, bit for bit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig

pytestmark = pytest.mark.slow

RUN = """
import json, logging, sys, types
logging.basicConfig(stream=sys.stdout, format="%(message)s")
logging.getLogger("noisy_gru.progress").setLevel(logging.INFO)
from noisy_gru.trainer.module import run_fn
run_fn(types.SimpleNamespace(**json.loads(sys.argv[1])))
"""
EPOCHS = 12


class Run:
    """A training in a process of its own."""

    def __init__(self, arguments: Any, errors: Path):
        command = [sys.executable, "-c", RUN, json.dumps(vars(arguments))]
        self.errors = errors
        with errors.open("w") as file:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)

    def kill_after(self, beginning: str) -> None:
        with self.process as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(beginning):
                    process.kill()
                    break
        assert process.returncode == -signal.SIGKILL, self.errors.read_text()

    def log(self) -> str:
        """Its output, once it has ended well."""
        output = self.process.communicate()[0]
        assert self.process.returncode == 0, self.errors.read_text()
        return output


def weights(folder: Path) -> list[np.ndarray]:
    from noisy_gru.trainer.export.saved_model import load_keras

    return load_keras(str(folder / "model" / "Format-Keras"))[0].get_weights()


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
def test_killed_training_goes_on_as_if_nothing_had_been(forecasting: Any, tmp_path: Path) -> None:
    trainer = TrainerConfig.model_validate(
        {
            "model": {
                "layers": [
                    {"units": 6, "stddev": 0.3, "dropout": 0.2, "recurrent_dropout": 0.2},
                    {"units": 4, "stddev": 0.2, "noise": "uniform"},
                ],
                "learn_mean": True,
                "head_dropout": 0.2,
                "target": "difference",
            },
            "training": {
                "epochs": EPOCHS,
                "batch_size": 16,
                "learning_rate": 0.01,
                "schedule": {"kind": "cosine", "warmup_epochs": 2},
                "noise_schedule": {"kind": "linear", "final_factor": 0.1},
                "early_stopping": {"patience": 3},
            },
            "seed": 7,
        }
    )
    working_dir = tmp_path / "working"

    def arguments(name: str) -> Any:
        custom_config = CustomConfig(forecasting.dataset, trainer, working_dir=str(working_dir / name))
        return forecasting.fn_args(tmp_path / name, custom_config.to_dict())

    # The last two share a folder that outlives them, as two executions of a pipeline's Trainer would.
    undisturbed = Run(arguments("undisturbed"), tmp_path / "undisturbed.txt")
    Run(arguments("disturbed"), tmp_path / "killed.txt").kill_after(f"epoch {EPOCHS // 2}/")
    (state,) = working_dir.glob("disturbed/training-*/state.npz")
    assert not (tmp_path / "disturbed" / "model").exists()
    undisturbed_log = undisturbed.log()
    log = Run(arguments("disturbed"), tmp_path / "resumed.txt").log()
    epochs = [line.split()[1] for line in log.splitlines() if line.startswith("epoch")]
    assert "resuming after epoch" in log and epochs[0] in (
        f"{EPOCHS // 2}/{EPOCHS}",
        f"{EPOCHS // 2 + 1}/{EPOCHS}",
    )
    assert undisturbed_log.splitlines()[-1].split(" (")[0] == log.splitlines()[-1].split(" (")[0]
    for left_alone, gone_on in zip(weights(tmp_path / "undisturbed"), weights(tmp_path / "disturbed"), strict=True):
        np.testing.assert_array_equal(left_alone, gone_on)
    history = [(tmp_path / name / "model_run" / "history.csv").read_text() for name in ("undisturbed", "disturbed")]
    assert history[0] == history[1]
    assert not state.parent.exists(), "a finished training leaves nothing to go on from"
