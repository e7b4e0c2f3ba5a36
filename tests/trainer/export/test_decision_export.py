"""A threshold chosen on eval, in the served graph, its eager reference, and the ONNX file; none of it sees test."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.errors import DataError
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.decision import Decision

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]
# Dear false positives: far from the likelier class.
TASK = {
    "kind": "classification",
    "label": "label",
    "positive": "class 1",
    "threshold": {"cost": {"false_positive": 30, "false_negative": 1}},
}


def rows_of(datasets: Any, count: int, seed: int) -> list[Any]:
    """One sequence in five is of class 1, which noise hides."""
    random = np.random.default_rng(seed)
    rows = datasets.classification_rows(count, seed=seed, classes=2)
    for row in rows:
        for name in ("x0", "x1"):
            row[name] = (np.array(row[name], np.float32) + random.normal(0, 2, len(row[name]))).tolist()
    return [row for row in rows if row["label"] == ["class 0"] or random.random() < 0.25]


@pytest.fixture(scope="module")
def binary(datasets: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    rows = {split: rows_of(datasets, 200, seed) for seed, split in enumerate(("train", "eval", "test"))}
    return datasets.run_transform(datasets.classification_dataset(task=TASK), rows, tmp_path_factory.mktemp("binary"))


def trained(transformed: Any, folder: Path, **task: Any) -> SimpleNamespace:
    from noisy_gru.trainer.module import run_fn

    dataset = transformed.dataset.model_copy(update={"task": transformed.dataset.task.model_validate({**TASK, **task})})
    config = TrainerConfig.model_validate(
        {
            "model": {"layers": [{"units": 4}], "onnx": True},
            "training": {"epochs": 3, "learning_rate": 0.02, "class_weights": "balanced"},
        }
    )
    arguments = transformed.fn_args(folder, CustomConfig(dataset, config).to_dict())
    run_fn(arguments)
    return arguments


def answers(arguments: Any, examples: list[bytes]) -> dict[str, np.ndarray]:
    with SessionModel(arguments.serving_model_dir) as session:
        return session.run("serving_default", {"examples": np.array(examples, object)})


def test_the_served_class_follows_the_threshold_chosen_on_eval(binary: Any, datasets: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    from noisy_gru.trainer.export.onnx_export import ONNX_FILE
    from noisy_gru.trainer.export.saved_model import keras_folder, load_decision, load_for_parity

    arguments = trained(binary, tmp_path)
    decision = load_decision(keras_folder(arguments.serving_model_dir))
    assert isinstance(decision, Decision) and decision.reached and decision.sequences == len(binary.rows["eval"])
    summary = json.loads((tmp_path / "model_run" / "training.json").read_text())
    assert Decision(**summary["decision"]) == decision

    # No other threshold costs less on eval, whose answers come from the exported model.
    served = answers(arguments, [datasets.example(row) for row in binary.rows["eval"]])
    labels = served["labels_bytes"][0].tolist()
    place = labels.index(b"class 1")
    scores = served["probabilities"][:, place]
    is_positive = np.array([row["label"] == ["class 1"] for row in binary.rows["eval"]])
    assert place == decision.positive_id and is_positive.sum() == decision.positives

    def cost(threshold: float) -> float:
        return 30 * ((scores >= threshold) & ~is_positive).sum() + (~(scores >= threshold) & is_positive).sum()

    assert cost(decision.threshold) <= min(cost(each) for each in [*scores, 1.1])
    assert cost(decision.threshold) < cost(0.5)

    examples = [datasets.example(row) for row in binary.rows["test"]]
    served = answers(arguments, examples)
    expected = np.where(served["probabilities"][:, place] >= np.float32(decision.threshold), place, 1 - place)
    assert_array_equal(served["class_id"], expected)
    assert_array_equal(served["label_bytes"], np.array(labels, object)[expected])
    assert (expected != served["probabilities"].argmax(axis=1)).any()

    eager = load_for_parity(arguments.serving_model_dir, binary.graph)
    assert_array_equal(eager.from_examples(tf.constant(examples))["class_id"], expected)

    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(Path(arguments.serving_model_dir) / ONNX_FILE)
    steps = max(len(row["x0"]) for row in binary.rows["test"])
    features = np.zeros((len(examples), steps, 2), np.float32)
    for number, row in enumerate(binary.rows["test"]):
        features[number, : len(row["x0"])] = np.stack([row["x0"], row["x1"]], axis=1)
    lengths = np.array([len(row["x0"]) for row in binary.rows["test"]], np.int64)
    (class_id,) = session.run(["class_id"], {"features": features, "lengths": lengths})
    assert_array_equal(class_id, expected)


def test_another_target_is_another_threshold_of_the_same_weights(binary: Any, tmp_path: Path) -> None:
    from noisy_gru.trainer.export.saved_model import keras_folder, load_decision, load_model

    kept = trained(binary, tmp_path / "kept", threshold=0.5)
    other = trained(binary, tmp_path / "other", threshold={"recall": 1})
    weights = [load_model(keras_folder(each.serving_model_dir)).get_weights() for each in (kept, other)]
    for one, two in zip(*weights, strict=True):
        assert_array_equal(one, two)
    found = [load_decision(keras_folder(each.serving_model_dir)) for each in (kept, other)]
    assert found[0] is not None and found[0].threshold == 0.5 and found[0].target is None
    assert found[1] is not None and found[1].recall == 1 and found[1].threshold != 0.5


def test_three_classes_have_no_threshold(classification: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two classes, and column label has 3 in train"):
        trained(classification, tmp_path)
