"""Losses of small SavedModels, computed again with NumPy."""

# TensorFlow is without type information.

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from noisy_gru.components.evaluation.paired_bootstrap import resample
from noisy_gru.components.evaluation.sequence_losses import known_targets, naive_losses, sequence_losses
from noisy_gru.components.evaluation.served_error import PublishedError, ServedError, served_error
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError

pytestmark = pytest.mark.slow

DATA = {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]}
CLASSES = DatasetConfig.model_validate({"data": DATA, "task": {"kind": "classification", "label": "y"}})
NUMBERS = DatasetConfig.model_validate({"data": DATA, "task": {"kind": "regression", "label": "y"}})
WINDOWS = DatasetConfig.model_validate(
    {
        "data": DATA,
        "task": {"kind": "forecasting", "targets": ["x"], "input_length": 2, "horizons": [1, 3]},
        "splits": {"by": "time"},
    }
)


def _example(name: str, **features: Any) -> bytes:
    import tensorflow as tf

    example: Any = tf.train.Example()
    for key, values in {"sequence_id": [name.encode()], **features}.items():
        feature = example.features.feature[key]
        (feature.bytes_list if isinstance(values[0], bytes) else feature.float_list).value.extend(values)
    return example.SerializeToString(deterministic=True)


def _saved(folder: Path, answer: Any) -> Path:
    """A model that answers by the sequence's first value of x."""
    import tensorflow as tf

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serve(self, examples):
            parsed = tf.io.parse_example(examples, {"x": tf.io.RaggedFeature(tf.float32)})
            return answer(parsed["x"][:, :1].to_tensor()[:, 0])

    model = Model()
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.serve})
    return folder


def _classes(x: Any) -> dict[str, Any]:
    import tensorflow as tf

    high = tf.sigmoid(x)
    names = tf.tile(tf.constant([["b", "a"]]), [tf.shape(x)[0], 1])
    return {"probabilities": tf.stack([high, 1 - high], axis=1), "labels_bytes": names}


def test_wrong_classes_count_and_what_is_no_number_is_wrong(tmp_path):
    x = np.random.default_rng(1).normal(0, 1, 150)
    x[7] = np.nan
    y = np.random.default_rng(2).choice(["a", "b", "new"], 150)
    examples = [_example(f"s{place}", x=[x[place]], y=[y[place].encode()]) for place in range(150)]
    losses = sequence_losses(_saved(tmp_path / "m", _classes), examples, CLASSES.task)
    expected = [0.0 if one == ("b" if value > 0 else "a") else 1.0 for value, one in zip(x, y, strict=True)]
    expected[7] = 1.0
    assert losses.tolist() == expected


def test_errors_of_numbers_and_forecasts(tmp_path):
    import tensorflow as tf

    x, y = np.random.default_rng(1).normal(0, 1, (2, 70)).astype(np.float32)
    examples = [_example(f"s{place}", x=[x[place]], y=[y[place]]) for place in range(70)]
    model = _saved(tmp_path / "n", lambda values: {"predictions": values[:, None]})
    assert np.allclose(sequence_losses(model, examples, NUMBERS.task), np.abs(x - y))
    with pytest.raises(DataError, match=r"sequence s has \[nan\] in y; expected one finite number"):
        sequence_losses(model, [_example("s", x=[1.0], y=[np.nan])], NUMBERS.task)
    two = _saved(tmp_path / "f", lambda values: {"predictions": tf.stack([values, 2 * values], axis=1)[:, :, None]})
    target = np.stack([y, x], axis=1)
    naive = np.stack([x, np.where(np.arange(70) < 5, np.nan, x)], axis=1)
    windows = [
        _example(f"s@{place}", x=[x[place]], **{"target/x": target[place], "naive_last/x": naive[place]})
        for place in range(70)
    ]
    some = np.where(np.arange(140).reshape(70, 2) % 3 == 0, np.nan, target)
    masked = [
        _example(f"s@{place}", x=[x[place]], **{"target/x": some[place], "naive_last/x": naive[place]})
        for place in range(70)
    ]
    known_error = np.abs(np.stack([x, 2 * x], axis=1) - some)
    assert np.allclose(sequence_losses(two, masked, WINDOWS.task), np.nanmean(known_error, axis=1), atol=1e-6)
    assert known_targets(masked, WINDOWS.task).tolist() == (~np.isnan(some)).mean(axis=1).tolist()
    # Windows count by their known targets, where the naive forecast can be measured, too.
    naive_error = np.abs(naive - some)
    both = (~np.isnan(naive_error)).any(axis=1)
    weights = np.where(both, (~np.isnan(some)).mean(axis=1), 0.0)
    served = served_error(two, masked, WINDOWS, PublishedError(0.1, 1.0), 0.5)
    naive_mean = np.nan_to_num(naive_error).sum(axis=1) / np.maximum((~np.isnan(naive_error)).sum(axis=1), 1)
    expected = (np.nanmean(known_error, axis=1) * weights).sum() / (naive_mean * weights).sum()
    assert served.error == pytest.approx(expected, rel=1e-5)
    for bad in ([np.nan, np.nan], [np.inf, 1.0]):
        with pytest.raises(DataError, match="sequence s has an infinite target or none that is known"):
            sequence_losses(two, [_example("s", x=[1.0], **{"target/x": bad})], WINDOWS.task)
    error = np.abs(np.stack([x, 2 * x], axis=1) - target)
    assert np.allclose(sequence_losses(two, windows, WINDOWS.task), error.mean(axis=1), atol=1e-6)
    assert np.allclose(naive_losses(windows, WINDOWS.task), np.nanmean(np.abs(naive - target), axis=1), atol=1e-6)


@pytest.mark.parametrize(("swapped", "count", "collapsed"), [(False, 60, False), (True, 60, True), (True, 20, True)])
def test_swapped_labels_are_a_collapse_and_the_same_world_is_none(tmp_path, swapped, count, collapsed):
    """A model with an accuracy of 0.85 in a world of two even classes: an error of 0.3 of the majority's."""
    random = np.random.default_rng(4)
    right = random.random(count) < 0.85
    x = random.normal(0, 1, count)
    y = [("b" if (value > 0) == (hit != swapped) else "a").encode() for value, hit in zip(x, right, strict=True)]
    examples = [_example(f"s{place}", x=[x[place]], y=[y[place]]) for place in range(count)]
    found = served_error(_saved(tmp_path / "m", _classes), examples, CLASSES, PublishedError(0.15, 0.5), 0.5)
    assert found.limit == pytest.approx(0.3 + 0.5 * 0.7)
    wrong = np.mean([one != (b"b" if value > 0 else b"a") for value, one in zip(x, y, strict=True)])
    assert found.error == pytest.approx(wrong / 0.5)
    assert found.collapsed == collapsed


def _night(name: str, count: int, error: float) -> tuple[list[bytes], list[float]]:
    """Sequences of two even classes, and whether the model is wrong on each: to the number that the error says."""
    examples = [_example(f"{name}-{place}", y=[b"a"]) for place in range(count)]
    return examples, [float(place < round(error * count)) for place in range(count)]


def _judged(monkeypatch: pytest.MonkeyPatch, nights: dict[str, tuple[list[bytes], list[float]]]) -> ServedError:
    known = {example: loss for night in nights.values() for example, loss in zip(*night, strict=True)}
    monkeypatch.setattr(
        "noisy_gru.components.evaluation.served_error.sequence_losses",
        lambda model, examples, task: np.array([known[example] for example in examples]),
    )
    parts = {name: night[0] for name, night in nights.items()}
    everything = [example for examples in parts.values() for example in examples]
    return served_error(Path("m"), everything, CLASSES, PublishedError(0.15, 0.5), 0.5, parts)


@pytest.mark.parametrize("count", [20, 40, 150])
def test_one_swapped_span_is_found_among_six_good_ones(monkeypatch, count):
    """Errors of 0.15, and of 0.85 where labels are swapped; the limit is 0.325."""
    nights = {f"span {number}": _night(str(number), count, 0.85 if number == 3 else 0.15) for number in range(7)}
    found = _judged(monkeypatch, nights)
    wrong = np.array([np.mean(losses) for _, losses in nights.values()])
    assert [part.error for part in found.parts] == pytest.approx(wrong / 0.5)
    assert found.error == pytest.approx(wrong.mean() / 0.5)
    assert found.limit == pytest.approx(0.325 / 0.5)
    assert (found.collapsed_together, found.collapsed) == (False, True)
    assert [part.name for part in found.collapsed_parts] == ["span 3"]
    assert (found.sequences, [part.sequences for part in found.parts]) == (7 * count, [count] * 7)
    json.dumps(asdict(found), allow_nan=False)


def test_more_spans_are_no_more_false_alarms(monkeypatch):
    """At an error just at the limit, one night in a hundred at the most: 21 of 1,000 at the 99.9th percentile."""
    known: dict[Any, Any] = {}

    def resample_once(sums: np.ndarray, bootstrap: Any, extra: Any) -> Any:
        """Nights with as many wrong answers have the same resamples."""
        key = np.sort(sums[:, 0]).tobytes(), bootstrap
        return known[key] if key in known else known.setdefault(key, resample(sums, bootstrap, extra))

    monkeypatch.setattr("noisy_gru.components.evaluation.served_error.resample", resample_once)
    random = np.random.default_rng(5)
    alarms = 0
    for _ in range(1000):
        nights = {}
        for number in range(5):
            examples, _losses = _night(str(number), 40, 0.0)
            nights[f"span {number}"] = examples, (random.random(40) < 0.325).astype(float).tolist()
        alarms += _judged(monkeypatch, nights).collapsed
    assert alarms <= binom.ppf(0.999, 1000, 0.01)


def test_a_single_span_is_judged_once(monkeypatch):
    nights = {"span 1": _night("1", 40, 0.85)}
    assert _judged(monkeypatch, nights).parts == ()


def test_a_regression_that_is_worse_than_the_mean_has_collapsed(tmp_path):
    y = np.random.default_rng(1).normal(1e4, 1, 80).astype(np.float32)
    model = _saved(tmp_path / "n", lambda values: {"predictions": values[:, None]})
    for noise, collapsed in ((0.3, False), (2.0, True)):
        x = y + np.random.default_rng(2).normal(0, noise, 80).astype(np.float32)
        examples = [_example(f"s{place}", x=[x[place]], y=[y[place]]) for place in range(80)]
        found = served_error(model, examples, NUMBERS, PublishedError(0.3, 1.0), 0.5)
        assert found.error == pytest.approx(np.sqrt(np.mean((x - y) ** 2)) / y.std(), rel=1e-3)
        assert found.collapsed == collapsed


def _windows(series: int, each: int, value: float, *, naive: float = 1.0) -> list[bytes]:
    """Windows whose target is 0, so that the value is the model's error; each reaches over 5 steps with its horizon."""
    columns = {"target/x": [0.0, 0.0], "naive_last/x": [naive, naive]}
    ids = [f"e{entity}@{step}" for entity in range(series) for step in range(each)]
    return [_example(name, x=[value], **columns) for name in ids]


@pytest.mark.parametrize(
    ("examples", "error", "lower", "independent", "collapsed"),
    [
        # One series of 24 steps is four blocks of 5: too few for a bound, and JSON has no infinity.
        (_windows(1, 24, 3.0), 3.0, None, 4, False),
        (_windows(1, 100, 3.0), 3.0, 3.0, 10, True),
        (_windows(30, 4, 3.0), 3.0, 3.0, 30, True),
        # A model whose answers are no numbers knows nothing, and a sensor that is stuck is no world to train on.
        (_windows(30, 4, np.nan), 1e100, 1e100, 30, True),
        (_windows(30, 4, 3.0, naive=0.0), 1e100, 1e100, 30, True),
        (_windows(30, 4, 0.0, naive=0.0), 0.0, 0.0, 30, False),
    ],
    ids=["one short series", "one series", "thirty", "no numbers", "stuck", "stuck and right"],
)
def test_a_forecast_that_collapses_says_so_in_numbers_that_json_has(
    tmp_path, request, examples, error, lower, independent, collapsed
):
    import tensorflow as tf

    model = _saved(tmp_path / "f", lambda values: {"predictions": tf.tile(values[:, None, None], [1, 2, 1])})
    found = served_error(model, examples, WINDOWS, PublishedError(0.2, 1.0), 0.5)
    assert (found.error, found.independent, found.collapsed) == (pytest.approx(error), independent, collapsed)
    assert found.lower == (None if lower is None else pytest.approx(lower))
    assert found.broken == (len(examples) if "no numbers" in request.node.name else 0)
    json.dumps(asdict(found), allow_nan=False)


@pytest.mark.parametrize(("bad", "collapsed"), [(4, False), (5, True)])
def test_short_nights_of_a_single_series_are_only_sure_if_all_are_bad(monkeypatch, bad, collapsed):
    """Five nights, each as long as a window with its furthest horizon; docs/retraining.md says what follows."""
    errors = [2.0] * 5 * bad + [0.2] * 5 * (5 - bad)
    monkeypatch.setattr(
        "noisy_gru.components.evaluation.served_error.sequence_losses",
        lambda model, examples, task: np.array(errors),
    )
    found = served_error(Path("m"), _windows(1, 25, 0.0), WINDOWS, PublishedError(0.2, 1.0), 0.5)
    assert (found.independent, found.error) == (5, pytest.approx(np.mean(errors)))
    assert found.collapsed == collapsed


def test_the_loss_of_steps_is_the_part_of_the_labelled_ones_that_is_wrong(tmp_path):
    """Of 3 steps, answered `a`, `b` and with no number; the last example is padded."""

    def answer(x: Any) -> dict[str, Any]:
        import tensorflow as tf

        scores = tf.constant([[0.9, 0.1], [0.2, 0.8], [float("nan"), float("nan")]])
        rows = tf.shape(x)[0]
        return {
            "probabilities": tf.tile(scores[tf.newaxis], [rows, 1, 1]),
            "label_bytes": tf.tile(tf.constant([["a", "b", "a"]]), [rows, 1]),
        }

    task = CLASSES.model_copy(update={"task": CLASSES.task.model_copy(update={"per_step": True})}).task
    given = [[b"a", b"b", b"a"], [b"b", b"", b""], [b"", b"b"]]
    examples = [_example(str(place), x=[1.0], y=labels) for place, labels in enumerate(given)]
    assert sequence_losses(_saved(tmp_path, answer), examples, task).tolist() == [pytest.approx(1 / 3), 1.0, 0.0]
    with pytest.raises(DataError, match="sequence 9 has no step with a label in y"):
        sequence_losses(tmp_path, [_example("9", x=[1.0], y=[b""])], task)
