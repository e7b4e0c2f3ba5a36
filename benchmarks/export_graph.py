"""The exported stack alone, in a Session: Keras' layers, the plain loop, the form that is served, ONNX Runtime.

    python -m benchmarks.export_graph [--units 64 32 16] [--features 10] [--steps 20] [--bidirectional]
        [--batches 1 32 256] [--rounds 40] [--threads 0] [--out export_graph.json]

All have the same weights and, before they are timed, the same answers to 1e-6 (ONNX Runtime: 1e-5). They are asked in
turn, round after round, so that a noisy minute hits all; what is told is the fastest tenth's slowest call, the median
call, and the process's CPU time, which other work on the machine disturbs less. `empty` is a graph that hands back one
step of its input: what any call costs. ONNX Runtime takes part where it is installed (benchmarks/requirements.txt).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe, write_result
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import UserError

NAMES = {
    "stock": "`keras.layers.GRU`, as Keras exports it",
    "plain": "NoisyGRU, its loop in eager mode and training",
    "served": "NoisyGRU, as it is exported",
    "onnxruntime": "ONNX Runtime, the ONNX file",
    "empty": "an empty graph",
}
TOLERANCES = {"onnxruntime": 1e-5}
_TOLERANCE, _TENTH = 1e-6, 10
# An operation has run about 90 times before TensorFlow knows that it is too cheap to be handed to another thread.
_WARM_UP = 100
_FEWEST_CALLS = 5

Ask = Callable[[], np.ndarray]


def models(options: argparse.Namespace) -> dict[str, Any]:
    """Return the functions to export, from features [B, T, F] and lengths [B] to logits, with the same weights."""
    import keras
    import tensorflow as tf

    from noisy_gru.trainer.export.onnx_model import onnx_model
    from noisy_gru.trainer.export.serving_stack import serving_function
    from noisy_gru.trainer.features import Layout
    from noisy_gru.trainer.model import VocabularySizes, build_model
    from noisy_gru.trainer.model_config import ModelConfig
    from noisy_gru.trainer.transform_record import Scale, TransformRecord

    columns = [f"x{index}" for index in range(options.features)]
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": columns}
    layout = Layout(DatasetConfig.model_validate({"data": data, "task": {"kind": "classification", "label": "y"}}))
    config = ModelConfig.model_validate(
        {"layers": [{"units": each} for each in options.units], "bidirectional": options.bidirectional}
    )
    model = build_model(config, layout, VocabularySizes(2), seed=0, for_serving=True)
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0, 0.15, weight.shape).astype(np.float32) for weight in model.weights])
    fast = serving_function(model)
    if fast is None:
        raise UserError("This stack is served as it is; there is nothing to compare.")

    keras_inputs = {"features": keras.Input((None, options.features)), "length": keras.Input((), dtype="int64")}
    mask = model.get_layer("mask")(keras_inputs["features"], keras_inputs["length"])
    hidden = keras_inputs["features"]
    for index, units in enumerate(options.units):
        gru: Any = keras.layers.GRU(units, return_sequences=index < len(options.units) - 1, use_cudnn=False)
        hidden = (keras.layers.Bidirectional(gru) if options.bidirectional else gru)(hidden, mask=mask)
    stock = keras.Model(keras_inputs, keras.layers.Dense(2)(hidden))
    stock.set_weights(model.get_weights())

    record = TransformRecord({name: Scale(0.0, 1.0, 0.0) for name in columns}, {}, ["no", "yes"], {})
    return {
        "weights": [weight.value for weight in (*model.weights, *stock.weights)],
        "stock": lambda inputs: tf.nn.softmax(stock(inputs, training=False)),
        "plain": lambda inputs: tf.nn.softmax(model(inputs, training=False)),
        "served": lambda inputs: tf.nn.softmax(fast(inputs)),
        "empty": lambda inputs: inputs["features"][:, 0],
        "onnxruntime": onnx_model(model, layout, config, record),
    }


def save(predict: Callable[..., Any], weights: list[Any], features: int, folder: Path) -> int:
    """Write a SavedModel with one signature; the size of its graph in bytes."""
    import tensorflow as tf

    module: Any = tf.Module()
    module.weights = weights
    module.ask = tf.function(
        lambda features, length: {"answer": predict({"features": features, "length": length})},
        input_signature=[
            tf.TensorSpec([None, None, features], tf.float32, "features"),
            tf.TensorSpec([None], tf.int64, "length"),
        ],
        autograph=False,
    )
    tf.saved_model.save(module, str(folder), signatures={"ask": module.ask.get_concrete_function()})
    return (folder / "saved_model.pb").stat().st_size


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time all contenders, interleaved; return one row for each of them and each batch size."""
    from noisy_gru.saved_model.session import SessionModel

    made = models(options)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as keep:
        runs: dict[str, Callable[[dict[str, np.ndarray]], np.ndarray]] = {}
        sizes = {}
        for name in ("stock", "plain", "served", "empty"):
            place = Path(folder) / name
            sizes[name] = save(made[name], made["weights"], options.features, place)
            session = keep.enter_context(SessionModel(place, threads=options.threads))
            runs[name] = lambda inputs, session=session: session.run("ask", inputs)["answer"]
        if importlib.util.find_spec("onnxruntime"):
            runs["onnxruntime"], sizes["onnxruntime"] = _onnx(made["onnxruntime"], options.threads)
        rows = []
        for batch in options.batches:
            x = np.random.default_rng(1).normal(size=(batch, options.steps, options.features)).astype(np.float32)
            inputs = {"features": x, "length": np.full(batch, options.steps, np.int64)}
            rows += _timed(runs, inputs, options.rounds, max(_FEWEST_CALLS, options.calls // batch))
        return [{**row, "bytes": sizes[row["contender"]]} for row in rows]


def _onnx(content: bytes, threads: int) -> tuple[Callable[[dict[str, np.ndarray]], np.ndarray], int]:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, np.ndarray]) -> np.ndarray:
        (answer,) = session.run(["probabilities"], {"features": inputs["features"], "lengths": inputs["length"]})
        return np.asarray(answer)

    return run, len(content)


def _timed(
    runs: dict[str, Callable[[dict[str, np.ndarray]], np.ndarray]],
    inputs: dict[str, np.ndarray],
    rounds: int,
    calls: int,
) -> list[dict[str, Any]]:
    batch = len(inputs["length"])
    expected = runs["stock"](inputs)
    for name, run in runs.items():
        difference = 0.0 if name == "empty" else float(np.abs(run(inputs) - expected).max())
        if not difference <= TOLERANCES.get(name, _TOLERANCE):
            raise UserError(f"{name} differs from stock by {difference:.3g} at batch {batch}; nothing is timed")
        for _ in range(_WARM_UP):
            run(inputs)
    wall: dict[str, list[float]] = {name: [] for name in runs}
    busy: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run(inputs)  # after the others, the caches are theirs
            for _ in range(calls):
                cpu, began = time.process_time(), time.perf_counter()
                run(inputs)
                wall[name].append(time.perf_counter() - began)
                busy[name].append(time.process_time() - cpu)
    median = {name: float(np.median(wall[name])) for name in runs}
    tenth = {name: (np.percentile(wall[name], _TENTH), np.percentile(busy[name], _TENTH)) for name in runs}
    return [
        {
            "contender": name,
            "batch": batch,
            "ms": round(1e3 * float(tenth[name][0]), 4),
            "median_ms": round(1e3 * median[name], 4),
            "cpu_ms": round(1e3 * float(tenth[name][1]), 4),
            "ratio": round(float(tenth[name][0] / tenth["stock"][0]), 3),
            "median_ratio": round(median[name] / median["stock"], 3),
            "cpu_ratio": round(float(tenth[name][1] / tenth["stock"][1]), 3),
            "calls": len(wall[name]),
        }
        for name in runs
    ]


def table(rows: list[dict[str, Any]]) -> str:
    """Format the rows as Markdown: p10 in milliseconds, and the ratios to stock of p10, median and CPU time."""
    batches = list(dict.fromkeys(row["batch"] for row in rows))
    lines = [
        "| " + " | ".join(["", *(f"batch {batch}" for batch in batches), "graph"]) + " |",
        "|---" * (len(batches) + 2) + "|",
    ]
    for name in dict.fromkeys(row["contender"] for row in rows):
        mine = [row for row in rows if row["contender"] == name]
        cells = [
            f"{row['ms']:.2f} ms ({row['ratio']:.2f}; median {row['median_ratio']:.2f}; CPU {row['cpu_ratio']:.2f})"
            for row in mine
        ]
        lines.append("| " + " | ".join([NAMES[name], *cells, f"{mine[0]['bytes'] / 1e3:,.0f} kB"]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and write the rows as JSON if ``--out`` is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="+", default=[64, 32, 16])
    parser.add_argument("--features", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--bidirectional", action="store_true")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32, 256])
    parser.add_argument("--rounds", type=int, default=40, help="times that every contender gets its turn")
    parser.add_argument("--calls", type=int, default=40, help="sequences in a turn, at least five calls")
    parser.add_argument("--threads", type=int, default=0, help="of a Session and of ONNX Runtime; 0: they choose")
    parser.add_argument("--out", type=Path, help="JSON file for the rows")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    machine = describe()
    try:
        rows = measure(options)
    except UserError as error:
        parser.exit(1, f"error: {error}\n")
    settings = {key: value for key, value in vars(options).items() if key != "out"}
    write_result(table(rows), {"machine": machine, "settings": settings, "rows": rows}, options.out)


if __name__ == "__main__":
    main()
