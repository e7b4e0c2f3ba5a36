"""A training that several share is the training of one: on two devices, and on two workers of which one is killed.

What `model.fit` makes of the same configuration on one device is the reference throughout.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from tests.ports import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]

EPOCHS = 6
TRAINER: dict[str, Any] = {
    "model": {"layers": [{"units": 4, "stddev": 0.5}], "learn_mean": True},
    "training": {
        "epochs": EPOCHS,
        # 96 sequences: five batches of 19, which two can't share evenly, and one of a single row.
        "batch_size": 19,
        "learning_rate": 0.003,
        "schedule": {"kind": "cosine", "warmup_epochs": 1},
        "clip_norm": 0.3,
        "weight_decay": 0.01,
        "noise_schedule": {"kind": "linear", "final_factor": 0.5},
        "early_stopping": {"patience": 3},
        "weight_average": {"kind": "ema", "decay": 0.8},
    },
    "seed": 7,
}


# With statistics over a batch, which are those of all replicas.
CONVOLUTIONS = {
    "convolutions": {"filters": [4, 3], "kernels": [4, 3], "pool": 4},
    "random_kernels": {"dilations": [1]},
}


def arguments(transformed: Any, folder: Path, **model: Any) -> Any:
    trainer = TrainerConfig.model_validate({**TRAINER, "model": {**TRAINER["model"], **model}})
    custom_config = CustomConfig(transformed.dataset, trainer, working_dir=str(folder / "work"))
    return transformed.fn_args(folder, custom_config.to_dict())


def weights(folder: Path) -> list[np.ndarray]:
    from noisy_gru.trainer.export.saved_model import load_keras

    return load_keras(str(folder / "model" / "Format-Keras"))[0].get_weights()


def history(folder: Path) -> list[dict[str, float]]:
    with (folder / "model_run" / "history.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def alone(classification: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training of one, with `fit`."""
    from noisy_gru.trainer.module import run_fn

    folder = tmp_path_factory.mktemp("alone")
    run_fn(arguments(classification, folder))
    return folder


class Workers:
    """Two workers on this machine, as two machines would start them."""

    def __init__(self, given: Any, folder: Path, name: str):
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        # What a pipeline's Trainer does in the end, without what it needs before.
        code = (
            "import json, os, sys, types\n"
            "from noisy_gru.trainer.distributed.rendezvous import run_chief, training_cluster\n"
            "given = types.SimpleNamespace(**json.loads(sys.argv[1]))\n"
            "run_chief(given, training_cluster('auto', os.environ), os.environ)"
        )
        command = [
            sys.executable,
            "-m",
            "noisy_gru.trainer.distributed.worker",
            str(folder / f"rendezvous-{name}"),
            "--",
        ]
        command += [sys.executable, "-c", code, json.dumps(vars(given))]
        self.logs = [folder / f"{name}-{index}.txt" for index in range(2)]
        self.processes = []
        for index, log in enumerate(self.logs):
            content = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            scratch = folder / f"scratch-{name}-{index}"
            scratch.mkdir()
            with log.open("w") as file:
                self.processes.append(
                    subprocess.Popen(
                        command,
                        stdout=file,
                        stderr=subprocess.STDOUT,
                        env={**os.environ, "TF_CONFIG": json.dumps(content), "TMPDIR": str(scratch)},
                    )
                )

    def story(self) -> str:
        return "\n".join(log.read_text() for log in self.logs)

    def wait(self) -> list[int]:
        return [process.wait(timeout=500) for process in self.processes]

    def wait_for(self, path: Path) -> None:
        while not path.exists():
            assert all(process.poll() is None for process in self.processes), self.story()
            time.sleep(0.01)

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def children(process: int) -> list[int]:
    import psutil

    return [each.pid for each in psutil.Process(process).children()]


@pytest.mark.long
def test_two_workers_of_which_one_is_killed_train_the_model_of_one(
    classification: Any, alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shared"
    given = arguments(classification, folder)
    first = Workers(given, tmp_path, "first")
    try:
        first.wait_for(folder / "model_run" / "history.csv")
        (training,) = children(first.processes[1].pid)
        os.kill(training, signal.SIGKILL)
        codes = first.wait()
    finally:
        first.end()
    # An error on both, in words, and nothing that looks like a result.
    assert 0 not in codes, first.story()
    assert "WorkerLostError: Another worker was lost, so the training can't continue" in first.logs[0].read_text()
    assert "training on 2 workers failed with exit code -9" in first.logs[1].read_text()
    assert not (folder / "model").exists()
    assert len(history(folder)) < EPOCHS

    second = Workers(given, tmp_path, "second")
    try:
        codes = second.wait()
    finally:
        second.end()
    assert codes == [0, 0], second.story()
    assert not list((folder / "work").glob("training-*")), "a finished training leaves nothing to go on from"

    # The same epochs, rates, noise, metrics and early stopping; weights differ as sums do that are added up otherwise.
    for one, two in zip(history(alone), history(folder), strict=True):
        assert list(one) == list(two)
        assert two == pytest.approx(one, rel=1e-4)
    for one, two in zip(weights(alone), weights(folder), strict=True):
        np.testing.assert_allclose(two, one, atol=2e-4)
    accounts = [json.loads((each / "model_run" / "training.json").read_text()) for each in (alone, folder)]
    assert [each["best_epoch"] for each in accounts] == [accounts[0]["best_epoch"]] * 2

    # The other worker left nothing but what AutoGraph compiled; the chief's model is one that a server loads.
    left = [each.name for each in (tmp_path / "scratch-second-1").iterdir() if each.is_dir()]
    assert set(left) <= {"__pycache__"}
    from noisy_gru.saved_model.session import SessionModel

    with SessionModel(folder / "model" / "Format-Serving") as model:
        requested = {"features": np.ones((2, 3, 2), np.float32), "lengths": np.array([3, 2])}
        served = model.run("serving_tensors", requested)["probabilities"]
    with SessionModel(alone / "model" / "Format-Serving") as model:
        np.testing.assert_allclose(served, model.run("serving_tensors", requested)["probabilities"], atol=1e-3)


# Logical devices must be set before TensorFlow starts, hence a process of its own.
MIRRORED = """
    import json, sys, types
    import keras, numpy as np, tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from noisy_gru.trainer.distributed.replicas import agree, draw_for_global_batch, fit_replicas, local_strategy
    from noisy_gru.trainer.model import build_model
    from noisy_gru.trainer.custom_config import CustomConfig
    from noisy_gru.trainer.training_context import EpochOrder, prepare_training

    given = types.SimpleNamespace(**json.loads(sys.argv[1]))
    custom_config = CustomConfig.parse(given.custom_config)
    context = prepare_training(given, custom_config)
    assert local_strategy("none") is None and local_strategy("auto") is None
    strategy = local_strategy("mirrored")
    rows = context.train.config.batch_size

    def weights(shared):
        keras.utils.set_random_seed(3)
        with (strategy if shared else tf.distribute.get_strategy()).scope():
            model = build_model(custom_config.trainer.model, context.layout, context.sizes, seed=3)
            # Nothing that makes up for a gradient of another scale, as Adam would; half of the steps are clipped.
            model.compile(
                optimizer=keras.optimizers.SGD(0.5, global_clipnorm=0.5),
                loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                weighted_metrics=["accuracy"],
            )
            model.optimizer.build(model.trainable_variables)
        kept = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: losses.append(logs))
        callbacks = [EpochOrder(context.train), kept]
        if shared:
            fit_replicas(model, context.train, context.eval, initial_epoch=0, epochs=3, callbacks=callbacks)
        else:
            data = {"x": context.train.shuffled(), "validation_data": context.eval.one_pass(), "shuffle": False}
            model.fit(**data, epochs=3, callbacks=callbacks, verbose=0)
        return model.get_weights()

    losses = []
    one, two = weights(False), weights(True)
    apart = max(np.abs(a - b).max() for a, b in zip(one, two))
    logs = max(abs(a[name] - b[name]) for a, b in zip(losses[:3], losses[3:]) for name in a)
    keys = [list(each) for each in losses]

    from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
    def draws(rows_of_each, strategy):
        with strategy.scope():
            inputs = keras.Input((1, 1))
            state = NoisyGRU(16, stddev=0.3, noise=noise, seed=22, return_state=True)(inputs, mask=None)[1]
            model = keras.Model(inputs, state)
            layer = model.layers[-1]
        draw_for_global_batch(model)
        nothing = tf.zeros((rows_of_each, 1), bool)
        def of_replica():
            return layer(tf.ones((rows_of_each, 1, 1)), mask=nothing, training=True)[1]
        step = tf.function(lambda: strategy.run(of_replica))
        return [np.concatenate(strategy.experimental_local_results(step())) for _ in range(2)]

    same = {}
    for noise in ("normal", "truncated_normal", "uniform"):
        whole, parts = draws(399, tf.distribute.get_strategy()), draws(200, strategy)
        same[noise] = float(max(np.abs(b[:399] / a - 1).max() for a, b in zip(whole, parts)))
    halves = [half.ravel() for each in parts for half in (each[:200], each[200:])]

    with strategy.scope():
        inputs = keras.Input((16,))
        model = keras.Model(inputs, keras.layers.Dropout(0.5, seed=1)(inputs))
    draw_for_global_batch(model)
    masks = tf.function(lambda: strategy.run(lambda: model(tf.ones((400, 16)), training=True)))()
    masks = [np.ravel(each) for each in strategy.experimental_local_results(masks)]
    correlation = lambda values: float(np.abs(np.corrcoef(values)[np.triu_indices(len(values), k=1)]).max())
    print(json.dumps({
        "replicas": strategy.num_replicas_in_sync, "weights": float(apart), "moved": float(np.abs(one[0]).max()),
        "logs": float(logs), "keys": keys, "same": same, "noise": correlation(halves), "dropout": correlation(masks),
        "agree": agree(strategy, 12345678),
    }))
"""


@pytest.mark.parametrize(
    "model", [{}, pytest.param(CONVOLUTIONS, marks=pytest.mark.long)], ids=["stack", "convolutions"]
)
def test_two_devices_train_the_model_of_one(model: dict[str, Any], classification: Any, tmp_path: Path) -> None:
    given = json.dumps(vars(arguments(classification, tmp_path, **model)))
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MIRRORED), given], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])
    assert found["replicas"] == 2 and found["agree"]
    assert found["weights"] < 1e-5 and found["logs"] < 1e-5
    assert found["keys"] == [found["keys"][0]] * 6
    # The noise of a sequence is the one of a single device, but for the rounding of its factors (a few units in the
    # last place); that of a replica is none of the other's.
    assert set(found["same"]) == {"normal", "truncated_normal", "uniform"} and max(found["same"].values()) < 1e-6
    # Four standard errors of a correlation between 3200 (noise) and 6400 (dropout) independent draws.
    assert found["noise"] < 4 / 3200**0.5
    assert found["dropout"] < 4 / 6400**0.5


def test_a_pipeline_outside_of_the_launcher_is_refused(
    classification: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noisy_gru.trainer.module import run_fn

    content = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(content))
    with pytest.raises(ConfigError, match="NOISY_GRU_RENDEZVOUS, the folder in which they wait, is not set"):
        run_fn(arguments(classification, tmp_path))


def test_shares_are_the_batches_of_one(classification: Any, tmp_path: Path) -> None:
    from noisy_gru.trainer.training_context import prepare_training

    given = arguments(classification, tmp_path)
    for cache in (4.0, 0.0):  # from memory, and from the files
        training = {**TRAINER["training"], "cache_gigabytes": cache}
        custom_config = CustomConfig(
            classification.dataset, TrainerConfig.model_validate({**TRAINER, "training": training})
        )
        data = prepare_training(given, custom_config).train
        assert data.in_memory == bool(cache)
        data.epoch.assign(2)
        whole = [(inputs["length"].numpy(), answer.numpy()) for inputs, answer in data.shuffled()]
        parts = [list(data.shards(shuffled=True, count=3, own=own)) for own in (range(1), range(1, 3))]
        assert [len(each) for each in parts] == [data.steps, 2 * data.steps]
        for step, (lengths, answers) in enumerate(whole):
            mine = [parts[0][step], *parts[1][2 * step : 2 * step + 2]]
            sizes = {len(weight) for _, _, weight, _ in mine}
            assert sizes == {-(-len(answers) // 3)}
            assert {float(total) for *_, total in mine} == {len(answers)}
            kept = [weight.numpy() == 1 for _, _, weight, _ in mine]
            assert sum(each.sum() for each in kept) == len(answers)
            for index, expected in ((0, lengths), (1, answers)):
                values = [(part[0]["length"], part[1])[index].numpy() for part in mine]
                together = np.concatenate([value[real] for value, real in zip(values, kept, strict=True)])
                np.testing.assert_array_equal(together, expected)
