"""Layers, training step, export and memory on a GPU, against NumPy, Keras and the CPU; for `scripts/gpu_check.sh`.

NOISY_GRU_GPU_CHECK=gpu asks for a GPU; =cpu runs the same on a CPU, which tests the checks themselves.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose

from noisy_gru.saved_model.session import SessionModel
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
from tests.trainer.numpy_gru import gru

CHECK = os.environ.get("NOISY_GRU_GPU_CHECK")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHECK is None, reason="scripts/gpu_check.sh runs this"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]
BATCH, STEPS, FEATURES = 32, 40, 10
UNITS = (64, 32)
_ON_CPU = """
import sys
import numpy as np
from noisy_gru.saved_model.session import SessionModel

folder, examples, out = sys.argv[1:]
with SessionModel(folder) as model:
    given = list(np.load(examples, allow_pickle=True))
    np.savez(out, **model.run("serving_default", {"examples": given}))
"""


@pytest.fixture(scope="module")
def device() -> Iterator[str]:
    """The device that is checked. Its products are of full float32 here: TensorFloat-32 has 10 bits."""
    name = "/CPU:0"
    if CHECK == "gpu":
        gpus = tf.config.list_physical_devices("GPU")
        assert gpus, "TensorFlow sees no GPU"
        for each in gpus:
            tf.config.experimental.set_memory_growth(each, True)
        build = tf.sysconfig.get_build_info()
        print(
            f"\n{tf.config.experimental.get_device_details(gpus[0])}, CUDA {build.get('cuda_version')}, "
            f"cuDNN {build.get('cudnn_version')}"
        )
        name = "/GPU:0"
    tf.config.experimental.enable_tensor_float_32_execution(False)
    with tf.device(name):
        yield name
    tf.config.experimental.enable_tensor_float_32_execution(True)


@pytest.fixture
def sequences() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(BATCH, STEPS, FEATURES)).astype(np.float32)


@pytest.fixture
def mask() -> np.ndarray:
    lengths = np.random.default_rng(1).integers(1, STEPS + 1, BATCH)
    return np.arange(STEPS) < lengths[:, None]


def layer(units: int = 64, **arguments: Any) -> NoisyGRU:
    """A layer of which no weight is zero."""
    made = NoisyGRU(units, seed=3, **{"stddev": 0.0, **arguments})
    made.build((None, STEPS, FEATURES))
    random = np.random.default_rng(2)
    made.set_weights([random.normal(0, 0.2, weight.shape) for weight in made.get_weights()])
    return made


def operations(function: Any, *arguments: Any) -> set[str]:
    """The types of all operations of a function, those within its loops and conditions included."""
    graph = tf.function(function).get_concrete_function(*arguments).graph.as_graph_def()
    nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
    return {node.op for node in nodes}


def test_cudnn_runs_the_layer(device: str, sequences: np.ndarray) -> None:
    used = operations(layer(), tf.constant(sequences))
    assert any(name.startswith("CudnnRNN") for name in used) == (CHECK == "gpu"), sorted(used)


@pytest.mark.parametrize("arguments", [{}, {"use_cudnn": False}, {"use_cudnn": False, "fused": False}])
@pytest.mark.parametrize("masked", [False, True])
def test_the_layer_equals_numpy(
    device: str, sequences: np.ndarray, mask: np.ndarray, arguments: dict[str, Any], masked: bool
) -> None:
    made = layer(return_sequences=True, return_state=True, **arguments)
    found, state = made(sequences, mask=mask if masked else None)
    outputs, _, states = gru(sequences, made.get_weights(), mask=mask if masked else None)
    counted = mask if masked else np.ones_like(mask)
    assert_allclose(found.numpy()[counted], outputs[counted], atol=2e-5)
    assert_allclose(state.numpy(), states, atol=2e-5)


def test_gradients_equal_the_cpus(device: str, sequences: np.ndarray, mask: np.ndarray) -> None:
    def gradients(made: NoisyGRU) -> list[np.ndarray]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(made(sequences, mask=mask, training=True) ** 2)
        return [each.numpy() for each in tape.gradient(loss, [weight.value for weight in made.trainable_weights])]

    found = gradients(layer(learn_mean=True))
    with tf.device("/CPU:0"):
        expected = gradients(layer(learn_mean=True, use_cudnn=False, fused=False))
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, atol=2e-5 * max(1.0, np.abs(other).max()))


def test_the_noise_has_its_scale_and_the_cpus_draws(device: str) -> None:
    """The first state of a step that keeps it: z is 1."""
    stddev, count, units = 0.5, 2048, 64

    def first_states() -> np.ndarray:
        made = NoisyGRU(units, stddev=stddev, seed=7)
        made.build((None, 1, 1))
        kernel, own, bias = made.get_weights()
        bias[:] = 0
        bias[0, :units] = 50
        made.set_weights([np.zeros_like(kernel), np.zeros_like(own), bias])
        return np.asarray(made(np.zeros((count, 1, 1), np.float32), training=True))

    found = first_states()
    error = stddev / np.sqrt(2 * count * units)
    assert abs(found.std() - stddev) < 5 * error and abs(found.mean()) < 5 * error * np.sqrt(2)
    with tf.device("/CPU:0"):
        assert_allclose(found, first_states(), atol=1e-5)


def stacked(layers: list[keras.layers.Layer]) -> keras.Model:
    model: Any = keras.Sequential([keras.Input((STEPS, FEATURES)), *layers, keras.layers.Dense(3)])
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse", jit_compile=False)
    return model


def noisy_stack(**arguments: Any) -> list[keras.layers.Layer]:
    return [NoisyGRU(units, seed=place, return_sequences=place == 0, **arguments) for place, units in enumerate(UNITS)]


def test_a_training_step_beside_the_stock_layers(device: str, sequences: np.ndarray) -> None:
    target = np.random.default_rng(4).normal(size=(BATCH, 3)).astype(np.float32)
    stock = stacked([keras.layers.GRU(units, return_sequences=place == 0) for place, units in enumerate(UNITS)])
    ours, noisy = stacked(noisy_stack(stddev=0.0)), stacked(noisy_stack(stddev=0.1))
    for model in (ours, noisy):
        model.set_weights(stock.get_weights())
    losses = [[float(model.train_on_batch(sequences, target)) for _ in range(5)] for model in (stock, ours)]
    assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert losses[0][-1] < losses[0][0]
    timed = {}
    for name, model in (("stock", stock), ("NoisyGRU, no noise", ours), ("NoisyGRU", noisy)):
        model.train_on_batch(sequences, target)
        begun = time.perf_counter()
        for _ in range(20):
            model.train_on_batch(sequences, target)
        timed[name] = 50 * (time.perf_counter() - begun)
    print("\nms a training step:", ", ".join(f"{name} {milliseconds:.1f}" for name, milliseconds in timed.items()))


def test_mixed_precision(device: str, sequences: np.ndarray) -> None:
    """Weights stay float32, the loss falls, and the answers are those of float32 to the 10 bits of float16."""
    target = np.random.default_rng(4).normal(size=(BATCH, 3)).astype(np.float32)
    mixed = stacked(noisy_stack(stddev=0.1, dtype="mixed_float16"))
    full = stacked(noisy_stack(stddev=0.1))
    losses = [float(mixed.train_on_batch(sequences, target)) for _ in range(30)]
    assert np.isfinite(losses).all() and losses[-1] < 0.8 * losses[0]
    assert {weight.dtype for weight in mixed.trainable_weights} == {"float32"}
    full.set_weights(mixed.get_weights())
    assert_allclose(mixed(sequences), full(sequences), atol=0.02)


def test_an_export_answers_alike_on_a_cpu(device: str, classification: Any, tmp_path: Path) -> None:
    from noisy_gru.trainer.module import run_fn

    config = TrainerConfig.model_validate(
        {"model": {"layers": [{"units": 16}, {"units": 8}]}, "training": {"epochs": 2}}
    )
    arguments = classification.fn_args(tmp_path, CustomConfig(classification.dataset, config).to_dict())
    run_fn(arguments)
    folder = Path(arguments.serving_model_dir)
    assert b"CudnnRNN" not in (folder / "saved_model.pb").read_bytes()
    from tests.trainer.conftest import example

    examples = [
        example({key: value for key, value in row.items() if key != "label"}) for row in classification.rows["test"]
    ]
    np.save(tmp_path / "examples.npy", np.array(examples, object), allow_pickle=True)
    with SessionModel(folder) as model:
        here = model.run("serving_default", {"examples": examples})
    subprocess.run(
        [sys.executable, "-c", _ON_CPU, str(folder), str(tmp_path / "examples.npy"), str(tmp_path / "cpu.npz")],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        check=True,
    )
    there = np.load(tmp_path / "cpu.npz", allow_pickle=True)
    assert set(there.files) == set(here)
    for name, values in here.items():
        if values.dtype.kind == "f":
            assert_allclose(values, there[name], atol=1e-4, err_msg=name)


def test_memory_does_not_grow(device: str, sequences: np.ndarray) -> None:
    if CHECK != "gpu":
        pytest.skip("without a GPU there is no memory of one")
    target = np.zeros((BATCH, 3), np.float32)
    model = stacked(noisy_stack(stddev=0.1))

    def peak(steps: int) -> int:
        for _ in range(steps):
            model.train_on_batch(sequences, target)
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]

    tf.config.experimental.reset_memory_stats("GPU:0")
    first = peak(20)
    last = peak(200)
    print(f"\nmemory of the GPU, peak of training steps: {last / 2**20:.0f} MiB")
    assert last <= 1.05 * first
