"""The gate on exports that are broken on purpose, each in one way."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisy_gru.components.serving_gate.gate import judge
from noisy_gru.components.serving_gate.keras_reference import Reference
from noisy_gru.components.serving_gate.probe import Probe, ProbeRequest, TimedRequests, observe
from noisy_gru.components.serving_gate.probe_plan import read_signatures, warmup_requests
from noisy_gru.components.serving_gate.report import GateReport, read_report
from noisy_gru.components.serving_gate.warmup import WARMUP_FILE, stamp
from noisy_gru.registry.config import BudgetsConfig
from noisy_gru.schema.config import DatasetConfig

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

DATASET = DatasetConfig.model_validate(
    {
        "data": {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a", "b"]},
        "task": {"kind": "classification", "label": "label"},
    }
)


@pytest.fixture(scope="module")
def reference(exported: tuple[Path, Any]) -> Callable[[], Reference]:
    """The Keras side of `exported`: its Python functions, not its file."""
    import tensorflow as tf

    _, model = exported

    def from_examples(examples: list[bytes]) -> dict[str, np.ndarray]:
        rows = [tf.train.Example.FromString(each).features.feature for each in examples]
        lengths = [len(row["a"].float_list.value) for row in rows]
        steps = max(lengths) + 1
        features = np.zeros((len(rows), steps, 2), np.float32)
        for index, row in enumerate(rows):
            for channel, name in enumerate("ab"):
                features[index, : lengths[index], channel] = row[name].float_list.value
        mask = np.arange(steps)[None, :] < np.array(lengths)[:, None]
        probabilities = np.asarray(model([features, mask], training=False))
        classes = np.array([b"falls", b"rises", b"stays"], dtype=object)
        class_id = probabilities.argmax(axis=1)
        return {
            "probabilities": probabilities,
            "class_id": class_id.astype(np.int64),
            "label_bytes": classes[class_id],
            "labels_bytes": np.tile(classes, (len(rows), 1)),
        }

    return lambda: Reference(from_examples, from_examples, model.count_params())


@pytest.fixture
def gate(
    reference: Callable[[], Reference], serialized_examples: list[bytes], tmp_path: Path
) -> Callable[..., GateReport]:
    """``gate(folder)`` judges a copy with warm-up requests, as the executor does."""

    def _gate(
        folder: Path,
        load: Callable[[], Reference] | None = None,
        *,
        examples: Any = None,
        spoil: Callable[[Path], object] = lambda copy: None,
        step: bool = False,
        explain: float = 0.0,
        **budgets: Any,
    ) -> GateReport:
        given = serialized_examples if examples is None else examples
        limits = BudgetsConfig(**budgets)
        copy = tmp_path / "copy"
        if folder.is_dir():
            requests = warmup_requests(given, DATASET, limits.batch_size, read_signatures(folder), serving_step=step)
            stamp(folder, copy, requests, "tiny")
            spoil(copy)
        return judge(
            *(copy, given, DATASET, load or reference),
            budgets=limits,
            serving_step=step,
            name=str(folder),
            explain_seconds=explain,
        )

    return _gate


def outcome(report: GateReport) -> dict[str, bool]:
    return {check.name: check.passed for check in report.checks}


def test_a_good_export_is_blessed(gate: Callable[..., GateReport], exported: tuple[Path, Any], tmp_path: Path) -> None:
    report = gate(exported[0], explain=60.0)
    assert report.blessed, report.text()
    assert list(outcome(report)) == [
        "load", "operations", "variables", "signatures", "warm-up", "answers", "repeated calls", "both signatures",
        "parity with Keras", "skew", "latency", "memory",
    ]  # fmt: skip
    report.write(tmp_path)
    reported = read_report(tmp_path)
    assert reported["blessed"] is True
    importance = reported["importance"]
    assert [each["name"] for each in importance["features"]] == ["a", "b"]
    assert (importance["sequences"], importance["lengths"], len(importance["steps"])) == (40, [3, 12], 10)
    numbers = {check["name"]: check["numbers"] for check in reported["checks"]}
    assert numbers["parity with Keras"]["largest_difference"] < 1e-5
    assert numbers["skew"]["largest_difference"] < 1e-5
    assert 0 < numbers["latency"]["single_p50_ms"] <= numbers["latency"]["single_p99_ms"]
    assert 0 < numbers["latency"]["batch_p50_ms"] <= numbers["latency"]["batch_p99_ms"]
    # TensorFlow's own graph and session: more than a megabyte, less than a gigabyte.
    assert 1 < numbers["memory"]["memory_mb"] < 1000
    assert reported["summary"].startswith("loads as in TF Serving; parity ")
    assert all(word in reported["summary"] for word in ("skew", "p50/p99", "for one sequence", "ms for 32"))
    text = (tmp_path / "report.txt").read_text()
    assert text.startswith(f"TF Serving can serve {exported[0]}")
    assert "passed   warm-up: 4 requests, read back and answered" in text


def test_a_random_operation_is_refused(gate: Callable[..., GateReport], export_model: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    export_model(tmp_path / "m", spoil=lambda p: p + 0.0 * tf.random.normal(tf.shape(p)))
    report = gate(tmp_path / "m")
    assert outcome(report) | {"operations": True} == dict.fromkeys(outcome(report), True)
    assert "RandomStandardNormal (node" in report.problems[0]
    assert "in function __inference" in report.problems[0]
    assert "draws at random" in report.problems[0]


def test_noise_is_refused_by_what_it_does_as_well(
    gate: Callable[..., GateReport], export_model: Any, tmp_path: Path
) -> None:
    import tensorflow as tf

    export_model(tmp_path / "m", spoil=lambda p: p + 1e-4 * tf.random.uniform(tf.shape(p)))
    report = gate(tmp_path / "m")
    assert not outcome(report)["repeated calls"]
    assert "had another answer when asked again" in report.text()


def test_python_in_the_graph_is_refused(gate: Callable[..., GateReport], export_model: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    def spoil(p: Any) -> Any:
        return tf.ensure_shape(tf.numpy_function(lambda x: x, [p], tf.float32), p.shape)

    export_model(tmp_path / "m", spoil=spoil)
    report = gate(tmp_path / "m")
    assert not report.blessed
    assert any("PyFunc" in problem and "calls into Python" in problem for problem in report.problems)


def test_xla_is_refused(gate: Callable[..., GateReport], export_model: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    export_model(tmp_path / "m", spoil=tf.function(lambda p: p * 1.0, jit_compile=True))
    report = gate(tmp_path / "m")
    assert any("must be compiled by XLA" in problem for problem in report.problems)


def test_other_weights_are_refused(gate: Callable[..., GateReport], export_model: Any, tmp_path: Path) -> None:
    export_model(tmp_path / "m", seed=1)
    report = gate(tmp_path / "m")
    assert [name for name, passed in outcome(report).items() if not passed] == ["parity with Keras", "skew"]
    assert "the served model and the Keras model differ by" in report.problems[0]
    assert report.summary == f"refused: {'; '.join(report.problems)}"


def test_signatures_that_disagree_are_refused(
    gate: Callable[..., GateReport], export_model: Any, tmp_path: Path
) -> None:
    export_model(tmp_path / "m", twist=lambda features: 1.01 * features)
    report = gate(tmp_path / "m")
    assert [name for name, passed in outcome(report).items() if not passed] == ["both signatures"]
    assert "serving_tensors and serving_default differ by" in report.summary


def test_what_no_session_can_run_is_refused(
    gate: Callable[..., GateReport], exported: tuple[Path, Any], tmp_path: Path
) -> None:
    import tensorflow as tf

    class Holder(tf.Module):
        """What trap 1 describes: a module that merely holds a Keras model."""

        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def answer(self, features: Any, lengths: Any) -> dict[str, Any]:
            mask = tf.sequence_mask(lengths, tf.shape(features)[1])
            probabilities = self.model([features, mask])
            names = tf.constant([b"falls", b"rises", b"stays"])
            class_id = tf.argmax(probabilities, axis=1)
            labels = tf.repeat(names[None, :], tf.shape(probabilities)[0], axis=0)
            label = tf.gather(names, class_id)
            return {"probabilities": probabilities, "class_id": class_id, "label_bytes": label, "labels_bytes": labels}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
        def default(self, examples: Any) -> Any:
            spec = {name: tf.io.RaggedFeature(tf.float32, row_splits_dtype=tf.int64) for name in "ab"}
            rows = tf.io.parse_example(examples, spec)
            features = tf.stack([rows["a"].to_tensor(), rows["b"].to_tensor()], -1)
            return self.answer(features, rows["a"].row_lengths())

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, None, 2], tf.float32, "features"), tf.TensorSpec([None], tf.int64, "lengths")
            ]
        )  # fmt: skip
        def tensors(self, features: Any, lengths: Any) -> Any:
            return self.answer(features, lengths)

    holder = Holder(exported[1])
    signatures = {"serving_default": holder.default, "serving_tensors": holder.tensors}
    tf.saved_model.save(holder, str(tmp_path / "m"), signatures)
    assert tf.saved_model.load(str(tmp_path / "m")) is not None
    report = gate(tmp_path / "m")
    assert not outcome(report)["answers"]
    assert "Could not find variable" in report.text()


def test_seeds_and_doubled_weights_are_refused(
    gate: Callable[..., GateReport], export_model: Any, tmp_path: Path
) -> None:
    import keras

    def with_dropout(model: Any) -> Any:
        return keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5, seed=1), keras.layers.Dense(2)])

    export_model(tmp_path / "m", track=with_dropout)
    report = gate(tmp_path / "m")
    assert [name for name, passed in outcome(report).items() if not passed] == ["variables"]
    assert any("is a seed" in problem for problem in report.problems)
    assert any("weights are there twice, or others came along" in problem for problem in report.problems)


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("serving_tensors", "the signature serving_tensors is missing; the model has serving_default"),
        # Keras then makes the other one the default.
        ("serving_default", "serving_default: input examples is missing"),
    ],
)
def test_a_missing_signature_is_refused(
    signature: str, message: str, gate: Callable[..., GateReport], export_model: Any, tmp_path: Path
) -> None:
    export_model(tmp_path / "m", drop=(signature,))
    report = gate(tmp_path / "m")
    assert [name for name, passed in outcome(report).items() if not passed] == ["signatures"]
    assert report.problems[0] == message


@pytest.mark.parametrize(
    ("file", "check", "message"),
    [
        ("saved_model.pb", "load", "saved_model.pb"),
        ("variables/variables.data-00000-of-00001", "load", "can't load"),
        # TensorFlow takes this for a model without variables, and loads it.
        ("variables/variables.index", "answers", "Could not find variable"),
        (None, "load", "isn't a SavedModel"),
    ],
)
def test_a_missing_file_is_refused(
    file: str | None,
    check: str,
    message: str,
    gate: Callable[..., GateReport],
    exported: tuple[Path, Any],
    tmp_path: Path,
) -> None:
    if file is not None:
        shutil.copytree(exported[0], tmp_path / "m")
        (tmp_path / "m" / file).unlink()
    report = gate(tmp_path / "m")
    assert not outcome(report)[check]
    assert message in report.text()
    if check == "answers":
        assert "weights are missing" in report.text()


def test_a_keras_side_that_fails_is_a_reason(gate: Callable[..., GateReport], exported: tuple[Path, Any]) -> None:
    def missing() -> Reference:
        raise FileNotFoundError("Format-Keras/model.keras")

    report = gate(exported[0], missing)
    assert [name for name, passed in outcome(report).items() if not passed] == ["parity with Keras"]
    assert "FileNotFoundError: Format-Keras/model.keras" in report.problems[0]


def test_without_sequences_nothing_is_proved(gate: Callable[..., GateReport], exported: tuple[Path, Any]) -> None:
    report = gate(exported[0], examples=[])
    assert "the test split holds no sequence" in report.problems[0]


def test_a_model_that_hangs_or_crashes_does_no_harm(exported: tuple[Path, Any]) -> None:
    with Probe(exported[0], {}) as probe:
        seen = probe.observation(timeout=0.01)
    assert "did not answer within 0.01 s" in seen.error


def test_times_are_taken_when_all_is_asked_and_nobody_else_computes(
    exported: tuple[Path, Any], serialized_examples: list[bytes]
) -> None:
    events: list[str] = []

    def clock() -> float:
        events.append("time")
        return time.perf_counter()

    inputs = {"examples": np.array(serialized_examples[:1], dtype=object)}
    seen = observe(
        exported[0],
        {"one": ProbeRequest("serving_default", inputs)},
        {"timed": TimedRequests("serving_default", [inputs], calls=5)},
        before_times=lambda: events.append("asked"),
        clock=clock,
    )
    assert not seen.error and not seen.failures({"one": ()})
    assert len(seen.times["timed"]) == 5
    assert events == ["asked"] + ["time"] * 10


def test_budgets_that_no_model_keeps_are_each_said(gate: Callable[..., GateReport], exported: tuple[Path, Any]) -> None:
    names = ("single_p50_ms", "single_p99_ms", "batch_p50_ms", "batch_p99_ms", "memory_mb")
    report = gate(exported[0], batch_size=8, requests=10, **dict.fromkeys(names, 1e-6))
    assert [name for name, passed in outcome(report).items() if not passed] == ["latency", "memory"]
    message = [
        "p50 of one sequence is",
        "p99 of one sequence is",
        "p50 of 8 sequences is",
        "p99 of 8 sequences is",
        "loading the model and asking it takes",
    ]
    for problem, start, budget in zip(report.problems, message, names, strict=True):
        assert problem.startswith(start)
        assert f"serving.budgets.{budget} allows 1e-06" in problem


def replaced(question: ProbeRequest) -> Callable[[Path], None]:
    """Puts another request into the warm-up file of a model."""

    def spoil(copy: Path) -> None:
        aside = copy.parent / "aside"
        stamp(copy, aside, {"one": question}, "tiny")
        shutil.copy(aside / WARMUP_FILE, copy / WARMUP_FILE)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda copy: (copy / WARMUP_FILE).write_bytes((copy / WARMUP_FILE).read_bytes()[:-9]),
            "can't be read as TFRecords: truncated record",
        ),
        (
            replaced(ProbeRequest("serving_default", {"examples": np.array([b"no example"], object)})),
            "TF Serving would not load this version: warm-up request 1 (serving_default, batch of 1): "
            "The input examples takes serialized tf.Examples. Of 1, counted from 0, 0: its 10 bytes are no tf.Example",
        ),
    ],
)
def test_a_warm_up_that_a_server_stumbles_over_is_refused(
    spoil: Any, message: str, gate: Callable[..., GateReport], exported: tuple[Path, Any]
) -> None:
    report = gate(exported[0], spoil=spoil)
    assert [name for name, passed in outcome(report).items() if not passed] == ["warm-up"]
    assert message in report.summary


def test_a_stream_is_answered_as_the_whole(gate: Callable[..., GateReport], export_model: Any, tmp_path: Path) -> None:
    export_model(tmp_path / "m", step=lambda state: state)
    report = gate(tmp_path / "m", step=True)
    assert report.blessed, report.text()
    assert "passed   warm-up: 6 requests" in report.text()
    numbers = {check.name: check.numbers for check in report.checks}
    assert numbers["streams"]["largest_difference"] < 1e-5


def test_a_stream_that_forgets_is_refused(gate: Callable[..., GateReport], export_model: Any, tmp_path: Path) -> None:
    export_model(tmp_path / "m", step=lambda state: 0.0 * state)
    report = gate(tmp_path / "m", step=True)
    assert [name for name, passed in outcome(report).items() if not passed] == ["streams"]
    assert "serving_step, with the state it returned, and serving_tensors, with the whole sequence," in report.summary


def test_a_promised_stream_that_is_not_there_is_refused(
    gate: Callable[..., GateReport], exported: tuple[Path, Any]
) -> None:
    report = gate(exported[0], step=True)
    assert [name for name, passed in outcome(report).items() if not passed] == ["signatures"]
    assert report.problems == [
        "the signature serving_step, which model.serving_step asks for, is missing; "
        "the model has serving_default, serving_tensors"
    ]
