"""What is compared with what on which sequences, and what becomes of it; the oracle is plain NumPy and SciPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from scipy import stats

from noisy_gru.components.evaluation.class_accumulators import Classification
from noisy_gru.components.evaluation.comparisons import Comparison, judge
from noisy_gru.components.evaluation.config import EvaluationConfig
from noisy_gru.components.evaluation.recorded_answers import read_answers
from noisy_gru.components.evaluation.resampled_metrics import resampled_metric
from noisy_gru.components.evaluation.sequence_clusters import clusters_of
from noisy_gru.components.evaluation.verdict import refusals, warnings
from noisy_gru.data.sequences.sequence_ids import split_sequence_id
from noisy_gru.schema.config import DatasetConfig

arrow: Any = pyarrow


def dataset(task: dict[str, Any], **data: Any) -> DatasetConfig:
    time = {"column": "t", **data.pop("time", {})}
    given = {"files": ["x.csv"], "entity": "id", "time": time, "features": ["temp"]} | data
    return DatasetConfig.model_validate({"data": given, "task": task, "seed": 5})


CLASSES = dataset({"kind": "classification", "label": "y"})
NUMBERS = dataset({"kind": "regression", "label": "y"})
WEATHER = dataset(
    {"kind": "forecasting", "targets": ["temp", "wind"], "input_length": 4, "horizons": [1, 3], "season_length": 4}
)
OPEN = {"baselines": "report", "min_test_sequences": 1}


def classes(right: np.ndarray, was_right: np.ndarray | None, sites: list[str] | None = None) -> dict[str, Any]:
    """Answers of two models for a label that is `a` and `b` in turn."""
    label = np.array([b"a", b"b"] * (len(right) // 2 + 1), dtype=object)[: len(right)]
    other = np.where(label == b"a", b"b", b"a").astype(object)
    answers = {
        "sequence_id": [f"s{number}" for number in range(len(right))],
        "slices": [[f"site={site}"] for site in sites] if sites else [[] for _ in right],
        "label": label,
        "candidate": np.where(right, label, other),
        "candidate_loss": np.where(right, 0.1, 2.0),
        "majority": np.full(len(right), b"a", dtype=object),
    }
    if was_right is not None:
        answers |= {"published": np.where(was_right, label, other), "published_loss": np.where(was_right, 0.1, 2.0)}
    return answers


def only(comparisons: list[Comparison], **what: Any) -> Comparison:
    (found,) = [each for each in comparisons if all(getattr(each, name) == value for name, value in what.items())]
    return found


def test_a_candidate_is_compared_sequence_by_sequence() -> None:
    right, was = np.ones(200, bool), np.ones(200, bool)
    right[:30] = False
    was[10:40] = False  # 20 answers are wrong in both: the pairs disagree on 10 and 10
    verdict = judge(classes(right, was), CLASSES, EvaluationConfig.model_validate(OPEN), {})
    found = only(verdict.comparisons, against="published")
    assert (found.candidate, found.other, found.difference) == (0.85, 0.85, 0.0)
    # Agresti and Min's interval: half an observation more in each cell of the table of pairs.
    count, each = 202, 10.5
    width = stats.norm.ppf(0.95) * (2 * each / count / count) ** 0.5
    assert (found.lower, found.upper) == pytest.approx((-width, width), abs=0.006)
    assert not found.passed  # 0.036 > 0.02
    assert found.required
    loose = EvaluationConfig.model_validate(OPEN | {"compare": {"margin": 0.05}})
    assert judge(classes(right, was), CLASSES, loose, {}).passed
    better = EvaluationConfig.model_validate(OPEN | {"compare": {"accept": "better"}})
    assert not judge(classes(right, was), CLASSES, better, {}).passed
    assert judge(classes(np.ones(200, bool), was), CLASSES, better, {}).passed


def test_a_first_model_is_compared_with_the_baseline_alone_and_needs_enough_sequences() -> None:
    good = np.arange(40) % 10 > 0
    verdict = judge(classes(good, None), CLASSES, EvaluationConfig(), {})
    assert [(each.against, each.passed) for each in verdict.comparisons] == [("majority", True)]
    assert verdict.passed
    assert (verdict.comparisons[0].candidate, verdict.comparisons[0].other) == (0.9, 0.5)
    few = judge(classes(np.ones(7, bool), None), CLASSES, EvaluationConfig(), {})
    assert not few.passed
    assert "has 7 sequences, at least 20 are needed" in refusals(few, "-")[0]
    nothing = judge(classes(np.empty(0, bool), None), CLASSES, EvaluationConfig(), {})
    assert (nothing.sequences, nothing.passed, nothing.comparisons) == (0, False, [])


def test_a_model_that_is_hardly_better_than_the_baseline_has_not_beaten_it() -> None:
    right = np.arange(40) % 2 == 0  # the majority's answers
    right[1] = True
    verdict = judge(classes(right, None), CLASSES, EvaluationConfig(), {})
    assert verdict.comparisons[0].difference == pytest.approx(0.025)
    assert not verdict.passed
    assert judge(classes(right, None), CLASSES, EvaluationConfig(baselines="report"), {}).passed


def test_every_slice_is_reported_and_decides_where_asked() -> None:
    sites = ["north", "south"] * 150
    was, right = np.ones(300, bool), np.ones(300, bool)
    right[1:60:2] = False  # 30 of 150 in the south
    was[0:80:2] = False  # 40 of 150 in the north
    answers = classes(right, was, sites)
    config = OPEN | {"slices": [["site"]]}
    verdict = judge(answers, CLASSES, EvaluationConfig.model_validate(config), {})
    south = only(verdict.comparisons, slice="site=south", against="published")
    assert (south.candidate, south.other, south.sequences, south.passed) == (0.8, 1.0, 150, False)
    assert only(verdict.comparisons, slice="site=north", against="published").passed
    assert verdict.passed
    assert any(text.startswith("accuracy for site=south is 0.8, 0.2 worse") for text in warnings(verdict, "version 1"))
    strict = judge(answers, CLASSES, EvaluationConfig.model_validate(config | {"require_each": ["slice"]}), {})
    assert not strict.passed
    assert [each.slice for each in strict.comparisons if each.required and not each.passed] == ["site=south"]
    lenient = config | {"require_each": ["slice"], "compare": {"slice_margin": 0.3}}
    assert judge(answers, CLASSES, EvaluationConfig.model_validate(lenient), {}).passed


def test_an_answer_that_is_no_number_is_refused_and_loses_to_any() -> None:
    right = np.ones(60, bool)
    broken = classes(right, right)
    broken["candidate"], broken["candidate_loss"] = np.full(60, None, object), np.full(60, np.nan)
    for metric in ("accuracy", "log_loss"):
        config = EvaluationConfig.model_validate(OPEN | {"compare": {"metric": metric, "margin": 0.1}})
        assert not judge(broken, CLASSES, config, {}).passed
        turned = broken | {
            "candidate": broken["published"],
            "candidate_loss": broken["published_loss"],
            "published": broken["candidate"],
            "published_loss": broken["candidate_loss"],
        }
        assert judge(turned, CLASSES, config, {}).passed


def test_a_regression_is_compared_with_the_mean_and_the_median_of_train() -> None:
    random = np.random.default_rng(0)
    label = np.exp(random.normal(size=120))
    answers = {
        "sequence_id": [f"s{number}" for number in range(120)],
        "slices": [[] for _ in label],
        "label": label,
        "candidate": label + random.normal(0, 0.3, 120),
        "published": label + random.normal(0, 1.5, 120),
    }
    verdict = judge(answers, NUMBERS, EvaluationConfig(), {"y": (1.6, 1.0)})
    mean, median = (only(verdict.comparisons, against=name) for name in ("train_mean", "train_median"))
    assert (mean.metric, mean.other) == ("rmse", pytest.approx(np.sqrt(((label - 1.6) ** 2).mean())))
    assert (median.metric, median.other) == ("mae", pytest.approx(np.abs(label - 1.0).mean()))
    published = only(verdict.comparisons, against="published")
    assert published.candidate == pytest.approx(np.abs(answers["candidate"] - label).mean())
    assert published.margin == pytest.approx(0.02 * np.abs(answers["published"] - label).mean())
    assert verdict.passed
    worse = answers | {"candidate": np.full(120, 1.0)}
    failed = {
        each.against
        for each in judge(worse, NUMBERS, EvaluationConfig(), {"y": (1.6, 1.0)}).comparisons
        if not each.passed
    }
    assert {"train_mean", "train_median"} & failed


def windows(entities: int, each: int, error: float, horizon_error: float) -> dict[str, Any]:
    """Answers [windows, 2 horizons x 2 targets]: naive forecasts are 1 off, the seasonal one unknown in every third."""
    random = np.random.default_rng(1)
    count = entities * each
    label = 3 * random.normal(size=(count, 4))
    candidate = label + error * random.choice([-1, 1], (count, 4)) * random.uniform(0.8, 1.2, (count, 4))
    candidate[:, 2] = label[:, 2] + horizon_error  # temp at horizon 3
    seasonal = label + 1.0
    seasonal[::3] = np.nan
    ids = [f"e{entity}@{step}" for entity in range(entities) for step in range(each)]
    return {
        "sequence_id": ids,
        "slices": [[] for _ in ids],
        "label": label,
        "candidate": candidate,
        "published": label + 1.1,
        "last": label + 1.0,
        "seasonal": seasonal,
    }


def test_a_horizon_worse_than_the_seasonal_naive_is_reported_and_refused_where_asked() -> None:
    answers = windows(12, 20, 0.3, 1.18)
    constants = {"temp": (0.0, 0.0), "wind": (50.0, 50.0)}
    verdict = judge(answers, WEATHER, EvaluationConfig(), constants)
    assert verdict.passed
    late = only(verdict.comparisons, metric="mae/temp@3", against="seasonal")
    assert late.candidate == pytest.approx(1.18)
    assert late.other == pytest.approx(1.0)
    assert late.sequences == 160  # of 240 windows, those with a seasonal value
    assert (late.clusters, late.cluster_unit) == (12, "entity")
    assert not late.passed
    lines = warnings(verdict, "version 1")
    assert any(text.startswith("mae/temp@3 is 1.18, 0.18 worse") and "(1.18 times)" in text for text in lines)
    requested = judge(answers, WEATHER, EvaluationConfig(require_each=["horizon"]), constants)
    assert not requested.passed
    assert {each.against for each in requested.comparisons if each.required and not each.passed} >= {"last", "seasonal"}
    # By target, since they may be in different units; each of the naive forecasts, and the train split's constants.
    required = {(each.metric, each.against) for each in verdict.comparisons if each.required}
    baselines = ("last", "seasonal", "train_mean", "train_median")
    expected = {(f"mae/{target}", name) for target in ("temp", "wind") for name in baselines}
    assert required == expected | {("mae", "published")}


def test_a_bad_forecast_of_one_target_is_not_hidden_by_the_other() -> None:
    answers = windows(12, 20, 0.3, 0.3)
    answers["candidate"][:, [1, 3]] = answers["label"][:, [1, 3]] + 1.3  # wind
    verdict = judge(answers, WEATHER, EvaluationConfig(compare=None), {})
    failed = {(each.metric, each.against) for each in verdict.comparisons if each.required and not each.passed}
    assert failed == {("mae/wind", "last"), ("mae/wind", "seasonal")}


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1", "accuracy", "log_loss"])
def test_measures_are_the_metrics_that_tfma_shows(metric: str) -> None:
    random = np.random.default_rng(3)
    names = [b"a", b"b", b"c"]
    labels = random.choice([*names, b"unseen"], 80)
    probabilities = random.dirichlet([1, 1, 1], 80)
    task = Classification()
    outputs = [{"probabilities": row, "labels_bytes": np.array(names)} for row in probabilities]
    parts = [task.one(bytes(label), each, {}) for label, each in zip(labels, outputs, strict=True)]
    expected = task.metrics(task.merge(parts))[metric]
    answers = {
        "label": np.array([bytes(each) for each in labels], dtype=object),
        "candidate": np.array([names[place] for place in probabilities.argmax(axis=1)], dtype=object),
        "candidate_loss": np.array([float(each["loss"]) for each in parts]),
    }
    found = resampled_metric(metric, CLASSES.task, [*names, b"unseen"])
    assert found.value(found.columns(answers, "candidate").sum(axis=0)) == pytest.approx(expected)


def test_clusters_are_entities_or_blocks_of_time() -> None:
    assert split_sequence_id("a@b@7", WEATHER)[0] == "a@b"
    assert split_sequence_id("a@b", CLASSES)[0] == "a@b"  # an e-mail address, say: nothing is cut
    cut = dataset({"kind": "classification", "label": "y"}, time={"kind": "integer", "gaps": "split", "frequency": "1"})
    assert split_sequence_id("a@b@7", cut)[0] == "a@b"
    many = [f"e{entity}@{step}" for entity in range(10) for step in range(30)]
    found = clusters_of(many, WEATHER)
    assert (len(set(found.codes.tolist())), found.unit) == (10, "entity")
    few = [f"e{entity}@2013-11-{1 + step // 24:02}T{step % 24:02}:00:00Z" for entity in range(3) for step in range(500)]
    found = clusters_of(few, WEATHER)
    assert found.unit == "block of time"
    # 500 hours; a block is at least twice a window of 4 with its furthest horizon 3, and there are at most 30.
    assert len(set(found.codes.tolist())) == 30
    blocks = found.codes.reshape(3, 500)
    assert (blocks == blocks[0]).all()
    assert (np.diff(blocks[0]) >= 0).all()
    # 60 hours are four blocks of 14, so they are cut into eight of 7.
    middle = clusters_of([f"e{entity}@{step}" for entity in range(3) for step in range(60)], WEATHER)
    assert (len(set(middle.codes.tolist())), middle.unit) == (8, "block of time")
    short = clusters_of([f"e{entity}@{step}" for entity in range(3) for step in range(20)], WEATHER)
    assert (len(set(short.codes.tolist())), short.unit) == (3, "entity")  # too few of either: no interval, so no pass
    alone = clusters_of([f"e@{step}" for step in range(30)], WEATHER)
    assert (len(set(alone.codes.tolist())), alone.unit) == (4, "block of time")


def test_a_single_series_that_is_too_short_says_what_to_bring() -> None:
    verdict = judge(windows(1, 30, 0.1, 0.1), WEATHER, EvaluationConfig(), {})
    assert not verdict.passed
    (text,) = [each for each in refusals(verdict, "-") if each.startswith("mae/wind") and "repeating the last" in each]
    # 30 windows of 4 steps and a furthest horizon of 3 are four blocks that don't overlap.
    assert "on 30 test sequences (4 blocks of time)" in text
    assert "an interval needs at least 5 blocks of time: enlarge the test split or bring more data" in text


def test_a_slice_of_few_series_is_compared_over_blocks_of_its_time() -> None:
    answers = windows(12, 60, 0.3, 0.3)
    answers["slices"] = [[f"site={each.partition('@')[0]}"] for each in answers["sequence_id"]]
    config = EvaluationConfig.model_validate({"slices": [["site"]], "require_each": ["slice"], "compare": None})
    verdict = judge(answers, WEATHER, config, {})
    assert only(verdict.comparisons, metric="mae/temp", against="last", slice="all").clusters == 12
    first = [each for each in verdict.comparisons if each.slice == "site=e0" and each.against == "last"]
    # 60 steps are eight blocks of the seven that a window of 4 and its furthest horizon of 3 reach over.
    assert [(each.clusters, each.cluster_unit, each.passed) for each in first] == [(8, "block of time", True)] * 2
    assert verdict.passed


def test_blocks_of_time_hold_the_level_for_a_few_series() -> None:
    """3 series that share their weather: 300 lives, an interval of 95 % on each side."""
    random, below, above, lives, steps = np.random.default_rng(7), 0, 0, 300, 500
    ids = [f"e{entity}@{step}" for entity in range(3) for step in range(steps)]
    task = dataset({"kind": "forecasting", "targets": ["temp"], "input_length": 4, "horizons": [3]})
    for _ in range(lives):
        noise = random.normal(size=(2, 1, steps + 40)) + 0.5 * random.normal(size=(2, 3, steps + 40))
        # A moving average of 7 steps: windows of 4 and a horizon of 3 depend on each other for as long.
        errors = np.apply_along_axis(lambda row: np.convolve(row, np.ones(7) / 7, "valid"), 2, noise)[:, :, :steps]
        label = np.zeros((3 * steps, 1))
        answers = {
            "sequence_id": ids,
            "slices": [[] for _ in ids],
            "label": label,
            "candidate": errors[0].reshape(-1, 1),
            "published": errors[1].reshape(-1, 1),
            "last": label + np.nan,
        }
        verdict = judge(answers, task, EvaluationConfig.model_validate(OPEN), {})
        found = only(verdict.comparisons, against="published")
        assert found.cluster_unit == "block of time"
        assert found.lower is not None
        assert found.upper is not None
        below, above = below + (found.lower <= 0), above + (found.upper >= 0)  # both models are as good
    assert 0.91 <= below / lives <= 0.985
    assert 0.91 <= above / lives <= 0.985


def test_answers_are_read_whatever_their_order(tmp_path: Path) -> None:
    rows = {
        "sequence_id": ["b", None, "a"],
        "slices": [["x=1"], [], ["x=2"]],
        "label": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
        "candidate": [[1.0, float("nan")], [3.0, 4.0], [5.0, 6.0]],
        "published": [None, None, None],
    }
    kinds = {"sequence_id": arrow.string(), "slices": arrow.list_(arrow.string())}
    schema = arrow.schema([(name, kinds.get(name, arrow.list_(arrow.float32()))) for name in rows])
    table = arrow.table(rows, schema=schema)
    arrow.parquet.write_table(table.slice(0, 1), tmp_path / "answers-00000-of-00002.parquet")
    arrow.parquet.write_table(table.slice(1), tmp_path / "answers-00001-of-00002.parquet")
    found = read_answers(tmp_path)
    assert found["sequence_id"] == ["a", "b", "sequence 2"]
    assert found["slices"] == [["x=2"], ["x=1"], []]
    assert found["label"].tolist() == [[5.0, 6.0], [1.0, 2.0], [3.0, 4.0]]
    assert np.isnan(found["candidate"][1, 1])
    assert "published" not in found


def test_a_forecast_is_compared_on_its_known_targets() -> None:
    random = np.random.default_rng(3)
    count = 80
    label = random.normal(size=(count, 4))
    label[random.random(label.shape) < 0.4] = np.nan
    answers: dict[str, Any] = {
        "sequence_id": [f"e{number}@9" for number in range(count)],
        "slices": [[] for _ in range(count)],
        "label": label,
        **{name: random.normal(size=label.shape) for name in ("candidate", "published", "last", "seasonal")},
    }
    answers["last"][:20] = np.nan
    constants = {"temp": (0.5, 0.25), "wind": (1.0, 2.0)}
    verdict = judge(answers, WEATHER, EvaluationConfig.model_validate(OPEN), constants)
    errors = {name: np.abs(answers[name] - label) for name in ("candidate", "published", "last")}
    # Columns are (horizon 1, temp), (horizon 1, wind), (horizon 3, temp), (horizon 3, wind).
    for metric, places in (("mae", [0, 1, 2, 3]), ("mae/temp", [0, 2]), ("mae/wind@3", [3])):
        found = only(verdict.comparisons, against="published", metric=metric)
        assert found.candidate == pytest.approx(np.nanmean(errors["candidate"][:, places]))
        assert found.other == pytest.approx(np.nanmean(errors["published"][:, places]))
        assert found.sequences == (~np.isnan(label[:, places])).any(axis=1).sum()
    found = only(verdict.comparisons, against="last", metric="mae/temp")
    both = ~np.isnan(errors["last"][:, [0, 2]])
    assert found.candidate == pytest.approx(errors["candidate"][:, [0, 2]][both].mean())
    assert found.other == pytest.approx(errors["last"][:, [0, 2]][both].mean())
    found = only(verdict.comparisons, against="train_median", metric="mae/wind")
    assert found.other == pytest.approx(np.nanmean(np.abs(2.0 - label[:, [1, 3]])))
