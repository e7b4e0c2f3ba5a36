"""Latency and throughput of a published model: Session, stand-in over gRPC and REST, ONNX Runtime, PyTorch.

    python -m benchmarks.serving --root demo-run [--batches 1 32 256] [--rounds 30] [--out serving.json]

Needs a finished run, and `pip install -r benchmarks/requirements.txt` for the last two; without it they are left out.
Every contender lives in a process of its own and is asked in turn, round after round, so that a noisy minute hits all.
Each has to agree with the Session to 1e-5 before it is timed. PyTorch gets scaled, padded features: it is the model
alone. ONNX Runtime runs the ONNX file (`model.onnx`), which scales padded features itself. The Session and the servers
also parse and transform raw sequences.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe, write_result
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import UserError
from noisy_gru.trainer.features import PREDICTIONS, PROBABILITIES

CONTENDERS = ("session_examples", "session_tensors", "session_process", "grpc", "rest", "onnxruntime", "torch")
NAMES = {
    "session_examples": "Session, `serving_default`",
    "session_tensors": "Session, `serving_tensors`",
    "session_process": "Session in a process of its own, `serving_default`",
    "grpc": "stand-in, gRPC",
    "rest": "stand-in, REST",
    "onnxruntime": "ONNX Runtime, the ONNX file",
    "torch": "PyTorch, model alone",
}
TOLERANCE = 1e-5
_WARM_UP = 5

Ask = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Material:
    """Inputs of a contender: the run's paths, and sequences as raw examples, raw tensors and scaled features."""

    record: RunRecord
    folder: Path
    examples: dict[int, list[bytes]]
    tensors: dict[int, dict[str, np.ndarray]]
    scaled: dict[int, tuple[np.ndarray, np.ndarray]]

    @property
    def answer(self) -> str:
        """Name of the output that is compared."""
        return PROBABILITIES if self.record.config["task"]["kind"] == "classification" else PREDICTIONS


def prepare(root: Path, batches: list[int]) -> Material:
    """Return real sequences of the test split of the root's last published run, in batches of the sizes given."""
    import tensorflow as tf
    import tensorflow_transform as tft

    from noisy_gru.components.serving_gate.probe_sequences import read_examples, tensors
    from noisy_gru.trainer.features import Layout, model_inputs

    directory = RunDirectory(root)
    published = [record for record in directory.records() if record.published_path and "Trainer" in record.artifacts]
    if not published:
        raise UserError(
            f"{root}: no run that published a model. Run `make demo` first, or name another root with --root"
        )
    record = published[-1]
    folder = Path(record.published_path or "")
    config = {key: record.config[key] for key in ("data", "task", "splits", "seed")}
    dataset = DatasetConfig.model_validate(config)
    found = read_examples(Path(record.artifacts["SequenceExampleGen"]["examples"][0]) / "Split-test")
    transform = tft.TFTransformOutput(record.artifacts["Transform"]["transform_graph"][0])
    layout, layer = Layout(dataset), transform.transform_features_layer()
    wanted = {feature.name: transform.raw_feature_spec()[feature.name] for feature in dataset.data.features}
    examples, raw, scaled = {}, {}, {}
    for batch in batches:
        # Far apart in the file, so that the lengths are those of the data.
        chosen = [found[place] for place in np.linspace(0, len(found) - 1, batch).astype(int)]
        inputs = model_inputs(layer(tf.io.parse_example(chosen, wanted)), layout)
        examples[batch], raw[batch] = chosen, tensors(chosen, dataset)
        scaled[batch] = (inputs["features"].numpy(), inputs["length"].numpy())
    return Material(record, folder, examples, raw, scaled)


def contender(name: str, material: Material, batch: int, address: str, threads: int, keep: ExitStack) -> Ask:
    """Return a function that sends one request and returns the compared output [B, ...]."""
    if name.startswith("session"):
        from noisy_gru.saved_model.session import SessionModel
        from noisy_gru.saved_model.session_process import SessionProcess

        kind = SessionProcess if name == "session_process" else SessionModel
        model = keep.enter_context(kind(material.folder))
        if name == "session_tensors":
            return lambda: model.run("serving_tensors", material.tensors[batch])[material.answer]
        return lambda: model.run("serving_default", {"examples": material.examples[batch]})[material.answer]
    if name == "grpc":
        return _grpc(material, batch, address, keep)
    if name == "rest":
        return _rest(material, batch, address, keep)
    from noisy_gru.trainer.export.saved_model import load_keras

    model, custom_config = load_keras(str(Path(material.record.artifacts["Trainer"]["model"][0]) / "Format-Keras"))
    if name == "onnxruntime":
        return _onnx(material, batch, threads, model, custom_config)
    from benchmarks.peer_models import stack_of, torch_answer

    answer = torch_answer(stack_of(model, softmax=material.answer == PROBABILITIES), threads)
    features, lengths = material.scaled[batch]
    return lambda: answer(features, lengths)


def _onnx(material: Material, batch: int, threads: int, model: Any, custom_config: Any) -> Ask:
    import onnxruntime
    import tensorflow_transform as tft

    from noisy_gru.trainer.export.onnx_model import onnx_model
    from noisy_gru.trainer.features import Layout
    from noisy_gru.trainer.transform_record import read_record

    layout = Layout(custom_config.dataset)
    transform = tft.TFTransformOutput(material.record.artifacts["Transform"]["transform_graph"][0])
    content = onnx_model(model, layout, custom_config.trainer.model, read_record(transform, layout))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda: np.asarray(session.run([material.answer], material.tensors[batch])[0])


def _grpc(material: Material, batch: int, address: str, keep: ExitStack) -> Ask:
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    channel = keep.enter_context(grpc.insecure_channel(address))
    stub: Any = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    apis: Any = predict_pb2
    request = apis.PredictRequest()
    request.model_spec.name = material.folder.parent.name
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto(material.examples[batch]))
    return lambda: tf.make_ndarray(stub.Predict(request, timeout=60.0).outputs[material.answer])


def _rest(material: Material, batch: int, address: str, keep: ExitStack) -> Ask:
    import base64

    import httpx

    client = keep.enter_context(httpx.Client(timeout=60.0))
    url = f"http://{address}/v1/models/{material.folder.parent.name}:predict"
    body = json.dumps(
        {"inputs": {"examples": [{"b64": base64.b64encode(e).decode()} for e in material.examples[batch]]}}
    )

    def ask() -> np.ndarray:
        answer = client.post(url, content=body, headers={"content-type": "application/json"})
        answer.raise_for_status()
        return np.asarray(answer.json()["outputs"][material.answer], np.float32)

    return ask


def work(name: str, material: Material, address: str, threads: int, connection: Connection) -> None:
    """Run a contender's process: receive (batch, calls), send the seconds of each call and the last output."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    asks: dict[int, Ask] = {}
    with ExitStack() as keep:
        while (order := connection.recv()) is not None:
            batch, calls = order
            if batch not in asks:
                asks[batch] = contender(name, material, batch, address, threads, keep)
            seconds, answer = [], np.zeros(0)
            for _ in range(calls):
                began = time.perf_counter()
                answer = asks[batch]()
                seconds.append(time.perf_counter() - began)
            connection.send((seconds, answer))


def serve(base: Path, connection: Connection) -> None:
    """The stand-in server's process."""
    from noisy_gru.serving.local_server import LocalServer

    with LocalServer({base.name: base}) as server:
        connection.send((server.grpc_address, server.rest_address))
        connection.recv()


@contextmanager
def started(target: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    """Start a process at the other end of a connection; sending None ends it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        if process.is_alive():
            ours.send(None)
        process.join(20)


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time all contenders, interleaved; return one row for each of them and each batch size."""
    material = prepare(options.root, options.batches)
    there = [
        name for name in options.contenders if name not in ("onnxruntime", "torch") or importlib.util.find_spec(name)
    ]
    rows = []
    with ExitStack() as keep:
        places: dict[str, str] = {}
        if {"grpc", "rest"} & set(there):
            server = keep.enter_context(started(serve, material.folder.parent))
            places = dict(zip(("grpc", "rest"), server.recv(), strict=True))
        workers = {
            name: keep.enter_context(started(work, name, material, places.get(name, ""), options.threads))
            for name in there
        }

        def ask(name: str, batch: int, calls: int) -> tuple[list[float], np.ndarray]:
            workers[name].send((batch, calls))
            return workers[name].recv()

        for batch in options.batches:
            expected = ask(there[0], batch, _WARM_UP)[1]
            for name in there:
                difference = float(np.abs(ask(name, batch, _WARM_UP)[1].reshape(expected.shape) - expected).max())
                if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
                    raise UserError(
                        f"{name} differs from {there[0]} by {difference:.3g} at batch {batch}; nothing is timed"
                    )
            calls = max(options.calls // batch, 3)
            times: dict[str, list[float]] = {name: [] for name in there}
            for _ in range(options.rounds):
                for name in there:
                    times[name] += ask(name, batch, calls)[0]
            reference = float(np.median(times[there[0]]))
            for name in there:
                p50, p99 = (float(np.percentile(times[name], q)) for q in (50, 99))
                row = {
                    "contender": name, "batch": batch, "p50_ms": 1e3 * p50, "p99_ms": 1e3 * p99,
                    "sequences_per_second": batch / float(np.mean(times[name])), "ratio": p50 / reference,
                    "calls": len(times[name]),
                }  # fmt: skip
                rows.append({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    lines = ["| batch | contender | p50 ms | p99 ms | sequences/s | p50 / Session |", "|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['batch']} | {NAMES[row['contender']]} | {row['p50_ms']:.2f} | {row['p99_ms']:.2f} "
            f"| {row['sequences_per_second']:,.0f} | {row['ratio']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and write the rows as JSON if ``--out`` is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("demo-run"), help="of a finished run")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32, 256])
    parser.add_argument("--rounds", type=int, default=30, help="times that every contender gets its turn")
    parser.add_argument("--calls", type=int, default=40, help="sequences in a turn, at least three calls")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of ONNX Runtime and PyTorch")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--out", type=Path, help="JSON file for the rows")
    options = parser.parse_args()
    machine = describe()
    try:
        rows = measure(options)
    except UserError as error:
        parser.exit(1, f"error: {error}\n")
    write_result(table(rows), {"machine": machine, "rows": rows}, options.out)


if __name__ == "__main__":
    main()
