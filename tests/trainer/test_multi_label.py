"""Several labels (`task.labels`): from Transform to loss, metrics, thresholds and the served graph, against NumPy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, log_expit, logit
from sklearn.metrics import accuracy_score, average_precision_score, log_loss

from noisy_gru.components.serving_gate.importance import label_scores
from noisy_gru.components.serving_gate.output_difference import largest_difference
from noisy_gru.components.serving_gate.signature_contract import broken_promises
from noisy_gru.components.serving_gate.training_path import TrainingPath
from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.config import DatasetConfig, MultiLabelConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.trainer.class_balance import ClassSettings, balance_problems, label_weights
from noisy_gru.trainer.ensemble import MeanOfMembers
from noisy_gru.trainer.eval_outputs import eval_outputs
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.inputs.dataset import BatchConfig, SequenceData
from noisy_gru.trainer.label_decisions import LabelDecisions, decide_labels, decision_of
from noisy_gru.trainer.loss_units import split_answer, use_row_weights
from noisy_gru.trainer.model import VocabularySizes, build_model
from noisy_gru.trainer.model_checks import model_problems
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.training_config import TrainingConfig

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning"),
]

LABELS = ["fever", "cough", "rash"]
STREAMED = {"layers": [{"units": 5}], "serving_step": True}


def dataset(**task: Any) -> DatasetConfig:
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]}
    return DatasetConfig.model_validate({"data": data, "task": {"kind": "classification", "labels": LABELS, **task}})


def some_rows(count: int, seed: int) -> list[dict[str, list[Any]]]:
    random, rows = np.random.default_rng(seed), []
    for number in range(count):
        x = random.normal(size=int(random.integers(1, 9))).astype(np.float32)
        truth = (random.random(3) < [0.5, 0.3, 0.2]).astype(float)
        truth[random.random(3) < 0.2] = np.nan
        if np.isnan(truth).all():
            truth[number % 3] = 1.0
        rows.append({"x": x.tolist(), **{name: [float(value)] for name, value in zip(LABELS, truth, strict=True)}})
    return rows


def truth_of(rows: list[dict[str, list[Any]]]) -> np.ndarray:
    return np.array([[row[name][0] for name in LABELS] for row in rows])


@pytest.fixture(scope="module")
def patients(datasets: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    rows = {split: some_rows(count, seed) for seed, (split, count) in enumerate((("train", 50), ("test", 23)))}
    return datasets.run_transform(dataset(), rows, tmp_path_factory.mktemp("patients"))


def data_of(transformed: Any, split: str) -> SequenceData:
    import tensorflow_transform as tft

    spec = tft.TFTransformOutput(transformed.graph).transformed_feature_spec()
    return SequenceData(transformed.files[split], spec, Layout(transformed.dataset), BatchConfig(7), split)


def made(config: dict[str, Any] = STREAMED, **build: Any) -> keras.Model:
    model = build_model(ModelConfig.model_validate(config), Layout(dataset()), VocabularySizes(), seed=1, **build)
    random = np.random.default_rng(4)
    model.set_weights([random.normal(0, 0.7, each.shape).astype(np.float32) for each in model.weights])
    return model


def test_an_output_for_each_label() -> None:
    assert made().output_shape == (None, 3)
    assert Layout(dataset()).target_shape == (3,) and Layout(dataset()).raw_targets == LABELS


@pytest.mark.parametrize("form", ["plain", pytest.param("smooth", marks=pytest.mark.long), "focal", "weighted"])
def test_loss_and_metrics_are_over_the_known_labels(patients: Any, form: str) -> None:
    given = {"smooth": {"label_smoothing": 0.1}, "focal": {"loss": {"focal": {"gamma": 1.5}}}}.get(form, {})
    data, model, truth = data_of(patients, "test"), made(), truth_of(patients.rows["test"])
    data.pad_to((5, 12))
    weights = np.array([[0.5, 1, 1], [4, 1, 2]], np.float32) if form == "weighted" else None
    training = TrainingConfig.model_validate({"steps_per_execution": 1, **given})
    settings = ClassSettings(weights)
    compile_model(model, training, data.layout, steps_per_epoch=data.steps, epochs=1, classes=settings, xla=False)
    use_row_weights(model)
    outputs, logs = [], {}
    for batch in data.one_pass():
        real = batch[2].numpy() > 0
        outputs.append(np.asarray(model(batch[0], training=False), np.float64)[real])
        logs = model.test_step(batch)
    logits, known = np.concatenate(outputs), ~np.isnan(truth)
    aims = truth * 0.9 + 0.05 if form == "smooth" else truth
    losses = -(aims * log_expit(logits) + (1 - aims) * log_expit(-logits))
    if form == "focal":
        losses *= (1 - np.exp(-losses)) ** 1.5
    if weights is not None:
        losses *= np.where(truth > 0, weights[1], weights[0])
    assert_allclose(float(logs["loss"]), losses[known].mean(), rtol=1e-4)
    if form == "plain":
        assert_allclose(losses[known].mean(), log_loss(truth[known], expit(logits)[known]), rtol=1e-6)
    assert_allclose(float(logs["accuracy"]), accuracy_score(truth[known], logits[known] > 0), rtol=1e-5)
    # Scores are counted in sixteenths of the log-odds.
    areas: list[Any] = [
        average_precision_score(truth[known[:, k], k], np.rint(16 * logits[known[:, k], k])) for k in range(3)
    ]
    assert_allclose(float(logs["pr_auc"]), np.mean(areas), rtol=1e-2)


def test_weights_of_labels() -> None:
    truth = np.array([[1, 0, 1], [0, 0, np.nan], [0, 1, 0], [0, np.nan, 0]])
    assert label_weights(None, LABELS, truth) is None
    balanced = label_weights("balanced", LABELS, truth)
    # As scikit-learn's compute_class_weight("balanced"): sequences / (2 * those of the class).
    assert balanced is not None
    assert_allclose(balanced, np.array([[4 / 6, 3 / 4, 3 / 4], [4 / 2, 3 / 2, 3 / 2]]), rtol=1e-6)
    assert label_weights({"rash": 5.0}, LABELS, truth).tolist() == [[1, 1, 1], [1, 1, 5]]  # type: ignore[union-attr]
    for value, state in ((0.0, "never"), (1.0, "always")):
        with pytest.raises(DataError, match=f"the label cough is {state} true in the train split"):
            label_weights(None, LABELS, np.where([[False, True, False]], value, truth))


def test_thresholds_by_label() -> None:
    scores = np.array([[0.9, 0.2, 0.3], [0.8, 0.7, 0.4], [0.3, 0.6, 0.9], [0.1, 0.1, 0.9]], np.float32)
    truth = np.array([[1, 0, 0], [0, 1, np.nan], [1, 0, 1], [0, 0, np.nan]])
    task = dataset(threshold={"recall": 1.0}, thresholds={"rash": 0.25}).task
    assert isinstance(task, MultiLabelConfig)
    decisions = decide_labels(task, scores, truth)
    # Every fever from 0.3 down is found, above the 0.1; every cough from 0.7; and what is configured.
    assert_allclose(decisions.thresholds, [0.2, 0.65, 0.25], rtol=1e-6)
    fever, cough, rash = decisions.labels
    assert (fever.precision, fever.recall, fever.sequences) == (2 / 3, 1, 4)
    assert (cough.precision, cough.recall) == (1, 1)
    assert (rash.sequences, rash.positives, rash.precision) == (2, 1, 0.5)
    assert decision_of(decisions.to_json()) == decisions and not decisions.shortfall
    unreached = decide_labels(dataset(threshold={"precision": 0.9}).task, scores, truth)  # type: ignore[arg-type]
    assert not unreached.shortfall.startswith("cough")
    hopeless = decide_labels(dataset(thresholds={"fever": {"precision": 1.0}}).task, -scores, truth)  # type: ignore[arg-type]
    assert hopeless.shortfall.startswith("fever: task.threshold: precision 1 can't be reached")
    with pytest.raises(DataError, match="the threshold of rash is chosen on the eval split, which has no"):
        decide_labels(dataset(threshold={"recall": 1.0}).task, scores[:2], truth[:2])  # type: ignore[arg-type]


def test_members_answer_with_their_mean_probability() -> None:
    logits = [np.random.default_rng(seed).normal(0, 30, (4, 3)).astype(np.float32) for seed in range(3)]
    found = np.asarray(MeanOfMembers(False, binary=True)(logits), np.float64)
    mean = np.mean([expit(each.astype(np.float64)) for each in logits], axis=0)
    inner = np.abs(logit(mean)) < 12  # beyond, float64 can't tell the mean from 1
    assert_allclose(found[inner], logit(mean)[inner], rtol=1e-4)
    assert_allclose(expit(found), mean, atol=1e-6)


@pytest.fixture(scope="module")
def served(patients: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model in a Session as a server runs it, with thresholds, and what `from_examples` is compared with."""
    import tensorflow_transform as tft

    from noisy_gru.trainer.export.saved_model import export_saved_model
    from noisy_gru.trainer.export.served_model import ServedModel
    from noisy_gru.trainer.export.serving_stack import serving_function

    model, config = made(for_serving=True), ModelConfig.model_validate(STREAMED)
    task = dataset(threshold=0.4, thresholds={"rash": 0.2}).task
    decisions = decide_labels(task, np.zeros((0, 3), np.float32), np.zeros((0, 3)))  # type: ignore[arg-type]
    graph, folder = tft.TFTransformOutput(patients.graph), tmp_path_factory.mktemp("labels_served")
    model_of_labels = ServedModel(model, graph, Layout(dataset()), config, serving_function(model), decisions)
    export_saved_model(model_of_labels, str(folder))
    with SessionModel(str(folder)) as session:
        yield SimpleNamespace(model=model, session=session, of_labels=model_of_labels, decisions=decisions)


def test_the_served_graph_answers_each_label(served: Any, patients: Any, encode: Any) -> None:
    assert not broken_promises(served.session.signatures, dataset(), serving_step=True)
    rows = [{"x": row["x"]} for row in patients.rows["test"]]
    examples = [encode(row) for row in rows]
    answers = served.session.run("serving_default", {"examples": np.array(examples, object)})
    data = data_of(patients, "test")
    (logits,), _ = eval_outputs(data, lambda inputs: [served.model(inputs, training=False)])
    assert_allclose(answers["probabilities"], expit(logits.astype(np.float64)), atol=1e-6)
    assert (answers["answers"] == (answers["probabilities"] >= np.array([0.4, 0.4, 0.2], np.float32))).all()
    assert answers["labels_bytes"].tolist() == [[name.encode() for name in LABELS]] * len(rows)
    assert answers["answers"].any(axis=0).all() and not answers["answers"].all(axis=0).any()
    # The way of training comes to the same, and another threshold would show.
    labelled = [encode(row) for row in patients.rows["test"]]
    expected = TrainingPath(patients.graph, served.of_labels).answer(labelled)
    assert largest_difference(answers, expected, 1.0, served.decisions) <= 1e-5
    other = {**answers, "answers": 1 - answers["answers"]}
    assert largest_difference(other, expected, 1.0, served.decisions) == np.inf
    empty = served.session.run("serving_default", {"examples": np.array([], object)})
    assert {name: value.shape for name, value in empty.items()} == dict.fromkeys(
        ("probabilities", "answers", "labels_bytes"), (0, 3)
    )


def test_a_stream_answers_after_each_part(served: Any, patients: Any, encode: Any) -> None:
    (whole,) = [row["x"] for row in patients.rows["test"] if len(row["x"]) == 8][:1]
    state = np.zeros((1, served.session.signatures["serving_step"].inputs["state"].shape[1]), np.float32)
    for begin, end in ((0, 3), (3, 4), (4, 8)):
        features = np.array(whole[begin:end], np.float32).reshape(1, -1, 1)
        given = {"features": features, "lengths": np.array([end - begin]), "state": state}
        answers = served.session.run("serving_step", given)
        state = answers["state"]
        examples = np.array([encode({"x": whole[:end]})], object)
        expected = served.session.run("serving_default", {"examples": examples})
        assert_allclose(answers["probabilities"], expected["probabilities"], atol=1e-5)
        assert (answers["answers"] == expected["answers"]).all()


def test_answers_of_eval_hold_what_is_known(patients: Any) -> None:
    data, truth = data_of(patients, "test"), truth_of(patients.rows["test"])
    model = made()
    (scores,), answers = eval_outputs(data, lambda inputs: [model(inputs, training=False)])
    found, weights = split_answer(answers, scores)
    assert_allclose(np.where(weights > 0, found, np.nan), truth)
    assert_allclose(weights.mean(), 1, rtol=1e-5)


def test_importance_is_of_the_known_labels() -> None:
    truth = np.array([[1, 0, np.nan], [0, np.nan, 1]])
    scores, answers = np.array([[0.8, 0.4, 0.9], [0.3, 0.2, 0.4]]), np.array([[1, 0, 1], [0, 0, 0]])
    known = ~np.isnan(truth)
    found = label_scores(scores, answers, truth)
    assert found["log_loss"] == pytest.approx(log_loss(truth[known], scores[known]))
    assert found["accuracy"] == accuracy_score(truth[known], answers[known])


def test_what_has_no_form_for_labels_is_refused() -> None:
    problems = " ".join(model_problems(ModelConfig.model_validate({"onnx": True}), dataset()))
    assert "model.onnx: true has no form for several labels" in problems
    balanced = TrainingConfig.model_validate({"sampling": "balanced", "class_weights": {"rush": 2}})
    problems = " ".join(balance_problems(balanced, dataset()))
    assert "use training.class_weights: balanced" in problems
    assert "expected labels (fever, cough, rash), received one of rush" in problems
    assert isinstance(LabelDecisions([]).thresholds, np.ndarray)
