"""Plans of a real data set: spans that come, change, are missing or empty, against versions that were published."""

from __future__ import annotations

import glob
import io
import json
import re
import tempfile
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru.components.evaluation.sequence_losses import names as sequence_names
from noisy_gru.components.evaluation.served_error import ServedError
from noisy_gru.components.retrain_planner.plan import Reason, RetrainPlan
from noisy_gru.components.retrain_planner.planning import Subject, make_plan
from noisy_gru.registry.retraining_attempts import Attempt, append_attempt
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError, UserError

NOW = datetime(2026, 4, 10, 3, tzinfo=UTC)
UNMEASURED: dict[str, Any] = {"drift": False}
ALL = {"window": "all"}


def _plan(subject: Subject, **more: Any) -> RetrainPlan:
    return make_plan(subject, now=NOW, glob=lambda pattern: glob.glob(pattern), **more)  # noqa: PTH207


def _reason(plan: RetrainPlan, rule: str) -> Reason:
    (found,) = (reason for reason in plan.reasons if reason.rule == rule)
    return found


def test_a_first_model_then_nothing_new_then_a_new_span(shop, rows):
    shop.write("1.csv", rows(1))
    shop.write("2.csv", rows(2))
    subject = shop.subject(UNMEASURED, spans=ALL)
    first = _plan(subject)
    assert first.retrain
    assert (first.spans, first.newest_span, first.base_version) == ("1-2", 2, None)
    shop.publish(5, NOW - timedelta(days=2), {1: ["1.csv"], 2: ["2.csv"]})
    again = _plan(subject)
    assert not again.retrain
    assert again.summary == "not due: nothing new since version 5, which was trained on spans 1-2"
    assert again.data == first.data
    shop.write("3.csv", rows(3))
    then = _plan(subject)
    assert then.retrain
    assert (then.spans, then.new_spans, then.base_version) == ("1-3", (3,), 5)
    assert then.data != first.data
    assert not _plan(subject, span="2").retrain


def test_a_span_that_was_written_again_counts_as_new(shop, rows):
    shop.write("1.csv", rows(1))
    subject = shop.subject(UNMEASURED)
    shop.publish(5, NOW - timedelta(days=2), {1: ["1.csv"]})
    shop.write("1.csv", rows(1, shift=1.0))
    plan = _plan(subject)
    assert plan.retrain
    assert "1 span changed (1: other content: 1.csv)" in plan.summary


def test_a_new_version_of_a_span_counts_as_new(shop, rows):
    shop.write("1/v1.csv", rows(1))
    subject = shop.subject(UNMEASURED, files=["{SPAN}/v{VERSION}.csv"])
    shop.publish(5, NOW - timedelta(days=2), {1: ["1/v1.csv"]}, versions={1: 1})
    assert not _plan(subject).retrain
    shop.write("1/v2.csv", rows(1))
    plan = _plan(subject)
    assert plan.retrain
    assert "1: version 1 became 2" in plan.summary


def test_without_spans_files_are_compared(shop, rows):
    shop.write("a.csv", rows(1))
    shop.write("b.csv", rows(2))
    subject = shop.subject(UNMEASURED, files=["*.csv"])
    shop.publish(5, NOW - timedelta(days=2), {-1: ["a.csv", "b.csv"]})
    assert not _plan(subject).retrain
    shop.write("b.csv", rows(2, shift=1.0))
    plan = _plan(subject)
    assert plan.retrain
    assert "1 file changed (b.csv)" in plan.summary
    assert (plan.spans, plan.newest_span, plan.new_spans) == ("", None, ())


def test_a_version_that_was_taken_back_is_not_the_base(shop, rows):
    shop.write("1.csv", rows(1))
    shop.publish(4, NOW - timedelta(days=3), {1: ["1.csv"]})
    shop.write("2.csv", rows(2))
    shop.publish(5, NOW - timedelta(days=2), {1: ["1.csv"], 2: ["2.csv"]})
    subject = shop.subject(UNMEASURED, spans=ALL)
    data = _plan(subject).data
    append_attempt(shop.model_dir, Attempt(at="2026-04-08T03:00:00+00:00", event="started", run_id="r", data=data))
    append_attempt(shop.model_dir, Attempt(at="2026-04-08T03:05:00+00:00", event="published", run_id="r", version=5))
    (shop.model_dir / "5").rename(shop.model_dir / "withdrawn-5")
    plan = _plan(subject)
    assert (plan.base_version, plan.new_spans) == (4, (2,))
    assert not plan.retrain
    assert "version 5, of the last attempt (r), was taken back; the same data would give the same model" in plan.summary


def test_attempts_are_read_and_that_of_the_run_that_asks_is_not(shop, rows):
    shop.write("1.csv", rows(1))
    subject = shop.subject({**UNMEASURED, "after_failure": "backoff"})
    append_attempt(shop.model_dir, Attempt(at="2026-04-10T02:59:00+00:00", event="started", run_id="mine"))
    assert not _plan(subject).retrain
    assert _plan(subject, run_id="mine").retrain


@pytest.mark.parametrize("rules", [UNMEASURED, {"drift": True, "new_sequences": 10}])
def test_a_missing_span_is_an_error_that_names_the_pattern(shop, rows, rules):
    with pytest.raises(UserError, match=r"\{SPAN\}\.csv matches no file"):
        _plan(shop.subject(rules))
    shop.write("1.csv", rows(1))
    with pytest.raises(UserError, match=r"span 7 is missing: .*7\.csv matches no file"):
        _plan(shop.subject(rules), span="7")


@pytest.mark.slow
def test_nothing_is_ingested_where_no_rule_asks_for_it(shop, rows, monkeypatch):
    from noisy_gru.components.sequence_example_gen import beam_transforms

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("data was ingested")

    monkeypatch.setattr(beam_transforms.ReadChunks, "setup", refuse)
    shop.write("1.csv", rows(1))
    shop.publish(5, NOW - timedelta(days=2), {1: ["1.csv"]}, b"")
    shop.write("2.csv", rows(2))
    assert _plan(shop.subject(UNMEASURED)).retrain
    with pytest.raises((AssertionError, RuntimeError), match="data was ingested"):
        _plan(shop.subject({"new_sequences": 1, "drift": False}))


def _table(*spans: str) -> pd.DataFrame:
    return pd.concat([pd.read_csv(io.StringIO(span)) for span in spans])


def _sequences(*spans: str) -> list[dict[str, list[Any]]]:
    """As tf.Examples hold them, made from a table and not by the planner."""
    return [
        {
            "x": group["x"].astype(float).tolist(),
            "city": group["city"].tolist(),
            "label": group["label"].tolist()[:1],
            "steps": [len(group)],
            "sequence_id": [str(name)],
        }
        for name, group in _table(*spans).groupby("id", sort=False)
    ]


@pytest.fixture
def values(shop, rows, make_values) -> bytes:
    """Of spans 1 and 2."""
    return make_values(shop.subject({}).dataset, _sequences(rows(1), rows(2)))


@pytest.mark.slow
def test_new_spans_alone_are_measured_and_nothing_is_left_behind(shop, rows, values, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    for span in (1, 2):
        shop.write(f"{span}.csv", rows(span))
    shop.publish(5, NOW - timedelta(days=2), {1: ["1.csv"], 2: ["2.csv"]}, values)
    shop.write("3.csv", rows(3, sequences=40, shift=1.0, city=0.9))
    subject = shop.subject({"new_spans": 0, "new_sequences": 41}, spans=ALL)
    before = shop.listing()
    plan = _plan(subject)
    assert shop.listing() == before
    assert not list((tmp_path / "temporary").iterdir())
    counted = _reason(plan, "new_sequences")
    assert (counted.met, counted.numbers["sequences"], counted.numbers["rows"]) == (False, 40, 240)
    drift = {(each["feature"], each["measure"]): each for each in _reason(plan, "drift").numbers["features"]}
    old, new = (_shares(_table(*spans)["city"].tolist()) for spans in ((rows(1), rows(2)), (_read(shop, "3.csv"),)))
    city = drift["city", "shares"]
    assert city["distance"] == pytest.approx(abs(old["JFK"] - new["JFK"]), abs=1e-6)
    assert (city["drifted"], city["p_value"] <= 0.01) == (True, True)
    assert drift["x", "location"]["drifted"]
    assert drift["label", "shares"]["distance"] == pytest.approx(0.0, abs=1e-9)
    assert not drift["label", "shares"]["drifted"]
    assert plan.retrain
    assert plan.summary.startswith("due: ")
    assert "(40 new and 60 trained-on entities)" in plan.summary
    assert plan == _plan(subject), "the same evidence gives the same plan"


def _read(shop: Any, name: str) -> str:
    return (shop.data / name).read_text()


def _shares(values: list[str]) -> dict[str, float]:
    return {value: count / len(values) for value, count in Counter(values).items()}


@pytest.mark.slow
def test_a_span_like_those_before_is_no_drift(shop, rows, values):
    for span in (1, 2):
        shop.write(f"{span}.csv", rows(span))
    shop.publish(5, NOW - timedelta(days=2), {1: ["1.csv"], 2: ["2.csv"]}, values)
    shop.write("3.csv", rows(4, sequences=60))
    plan = _plan(shop.subject({"new_spans": 0}))
    assert not plan.retrain
    assert "none; most conspicuous: " in plan.summary


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,t,x,city,label\n", r"span 2 is empty: 2\.csv holds no rows"),
        ("", r"span 2.*2\.csv"),
        ("id,t,city,label\n2-1,0,JFK,a\n", r"span 2.*2\.csv.*x"),
        ("\x00\xff\x01 no table", r"2\.csv"),
    ],
)
def test_a_new_span_that_is_empty_or_corrupt_is_an_error_and_no_decision(shop, rows, text, words):
    shop.write("1.csv", rows(1))
    shop.publish(5, NOW - timedelta(days=2), {1: ["1.csv"]})
    shop.write("2.csv", text)
    with pytest.raises(DataError, match=words):
        _plan(shop.subject({"new_sequences": 1, "drift": False}, spans=ALL))


@pytest.mark.slow
def test_a_version_without_a_sample_says_that_drift_is_not_measured(shop, rows):
    shop.write("1.csv", rows(1))
    shop.publish(5, NOW - timedelta(days=2), {1: ["1.csv"]})
    shop.write("2.csv", rows(2))
    plan = _plan(shop.subject({}))
    assert plan.retrain
    assert _reason(plan, "drift").text == (
        "not measured: version 5 carries no sample of its training data, as those of older releases do; the next one "
        "that is published will"
    )
    assert _reason(plan, "new_sequences").numbers["sequences"] == 30


SKY = ["clear", "cloud", "rain"]


def _day(span: int, shares: list[float]) -> str:
    """A day of two stations, an hour in each row."""
    random = np.random.default_rng(span)
    lines = ["id,t,x,city"]
    for station in ("a", "b"):
        for hour in range(24):
            lines.append(f"{station},{24 * span + hour},{random.normal():.4f},{random.choice(SKY, p=shares)}")
    return "\n".join(lines) + "\n"


@pytest.mark.slow
def test_windows_of_a_forecast_reach_back_into_the_spans_before(shop, make_values):
    """A window has 24 hours, and its target is 6 hours on: no single day holds one."""
    for day in (1, 2):
        shop.write(f"{day}.csv", _day(day, [0.6, 0.3, 0.1]))
    shop.write("3.csv", _day(3, [0.1, 0.2, 0.7]))
    subject = shop.subject({}, spans=ALL)
    data = subject.dataset.data.model_dump() | {
        "entity": "id",
        "features": ["x", {"name": "city", "kind": "categorical"}],
    }
    task = {"kind": "forecasting", "targets": ["x"], "input_length": 24, "horizons": [6]}
    dataset = DatasetConfig.model_validate({"data": data, "task": task, "splits": {"by": "time"}})
    before = {"x": [0.0] * 24, "city": ["clear"] * 12 + ["cloud"] * 6 + ["rain"] * 6, "target/x": [0.0], "steps": [24]}
    # A window ends in every hour; at gaps of 24 to 47 hours 15 to 30 of each station count.
    known = [{**before, "sequence_id": [f"{station}@{hour}"]} for station in "ab" for hour in range(24 * 30)]
    shop.publish(5, NOW - timedelta(days=2), {1: ["1.csv"], 2: ["2.csv"]}, make_values(dataset, known))
    plan = _plan(replace(subject, dataset=dataset))
    counted = _reason(plan, "new_sequences").numbers
    # 72 hours have 72 - 24 - 6 + 1 windows, the first 48 of them 19: 24 are new, of each of two stations.
    assert (counted["sequences"], counted["rows"]) == (2 * (43 - 19), 48)
    sky = _table(*(_read(shop, f"{day}.csv") for day in (1, 2, 3))).groupby("id")["city"]
    # Of the 24 new windows, which all overlap, the first of each station counts.
    shares = _shares([value for _, hours in sky for value in hours.tolist()[19 : 19 + 24]])
    expected = max(abs(shares[name] - share) for name, share in zip(SKY, (0.5, 0.25, 0.25), strict=True))
    drift = {
        (each["feature"], each["measure"]): each["distance"] for each in _reason(plan, "drift").numbers["features"]
    }
    assert drift["city", "shares"] == pytest.approx(expected, abs=1e-6)
    compared = re.search(r"\(2 new and (\d+) trained-on stretches of windows\)", _reason(plan, "drift").text)
    assert compared is not None
    assert 2 * 15 <= int(compared[1]) <= 2 * 30


def _sign_model(saved_model: Path, examples: list[bytes], task: Any) -> np.ndarray:
    """The losses of a model that says b where the first x is positive."""
    import tensorflow as tf

    features: Any = [tf.train.Example.FromString(example).features.feature for example in examples]
    predicted = [b"b" if each["x"].float_list.value[0] > 0 else b"a" for each in features]
    return np.array(
        [float(each["label"].bytes_list.value[0] != one) for each, one in zip(features, predicted, strict=True)]
    )


def _separable(span: int, *, swapped: bool = False) -> str:
    """Sequences whose label is the sign of x, or its opposite."""
    random = np.random.default_rng(span)
    lines = ["id,t,x,city,label"]
    for number in range(30):
        label = "ab"[(number + swapped) % 2]
        level = 1 if number % 2 else -1
        lines += [f"{span}-{number},{step},{level + random.normal(0, 0.1):.6f},JFK,{label}" for step in range(6)]
    return "\n".join(lines) + "\n"


def _with_metrics(shop: Any, version: int, metrics: dict[str, float]) -> None:
    file = shop.model_dir / str(version) / "assets.extra" / "retraining" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"metrics": metrics}))


@pytest.mark.slow
@pytest.mark.parametrize("by_span", [True, pytest.param(False, marks=pytest.mark.long)])
def test_one_bad_span_or_file_among_many_new_ones_is_held(shop, monkeypatch, by_span):
    """Six of the new ones are as they should be; in the seventh labels are swapped."""
    monkeypatch.setattr("noisy_gru.components.evaluation.served_error.sequence_losses", _sign_model)
    shop.write("1.csv", _separable(1))
    shop.publish(5, NOW - timedelta(days=2), {1: ["1.csv"]} if by_span else {-1: ["1.csv"]})
    _with_metrics(shop, 5, {"accuracy": 0.95, "accuracy_majority": 0.5})
    for span in range(2, 9):
        shop.write(f"{span}.csv", _separable(span, swapped=span == 6))
    subject = shop.subject(UNMEASURED, files=["{SPAN}.csv"] if by_span else ["*.csv"], spans=ALL if by_span else None)
    plan = _plan(subject)
    assert (plan.retrain, plan.held) == (False, True)
    numbers = _reason(plan, "served_model").numbers
    assert numbers["error"] == pytest.approx(1 / 7 / 0.5)
    names = [f"span {span}" if by_span else f"{span}.csv" for span in range(2, 9)]
    assert {part["name"]: part["error"] for part in numbers["parts"]} == {
        name: pytest.approx(2.0 if name.removesuffix(".csv").endswith("6") else 0.0) for name in names
    }
    assert f"; on the 30 of {names[4]} alone it is 2 (surely above" in plan.summary
    for span in range(9, 15):
        shop.write(f"{span}.csv", _separable(span))
    grouped = [part["name"] for part in _reason(_plan(subject), "served_model").numbers["parts"]]
    if by_span:
        assert grouped == ["span 2", *(f"spans {first}-{first + 1}" for first in (3, 5, 7, 9, 11, 13))]
    assert len(grouped) == 7


@pytest.mark.slow
def test_windows_of_each_new_span_are_those_that_it_brings(shop, monkeypatch):
    """As in the forecast above: 24 windows of each of two stations for each day after the second."""
    seen: dict[str, list[str]] = {}

    def keep(model: Path, examples: list[bytes], parts: dict[str, list[bytes]], **_: Any) -> ServedError:
        seen.update({name: sequence_names(part) for name, part in {"all": examples, **parts}.items()})
        return ServedError(error=0.1, lower=0.1, published=0.1, limit=0.5, sequences=1, independent=1)

    monkeypatch.setattr("noisy_gru.components.retrain_planner.planning.served_error", keep)
    for day in range(1, 6):
        shop.write(f"{day}.csv", _day(day, [0.6, 0.3, 0.1]))
    subject = shop.subject({**UNMEASURED}, spans=ALL)
    data = subject.dataset.data.model_dump() | {"entity": "id", "features": ["x"]}
    task = {"kind": "forecasting", "targets": ["x"], "input_length": 24, "horizons": [6]}
    dataset = DatasetConfig.model_validate({"data": data, "task": task, "splits": {"by": "time"}})
    shop.publish(5, NOW - timedelta(days=2), {1: ["1.csv"], 2: ["2.csv"]})
    _with_metrics(shop, 5, {"mae": 0.5, "mae_naive_last": 1.0})
    _plan(replace(subject, dataset=dataset))
    # The last input step of a window whose target is in the day: six hours before it.
    expected = {
        f"span {day}": {f"{station}@{hour}" for station in "ab" for hour in range(24 * day - 6, 24 * day + 18)}
        for day in (3, 4, 5)
    }
    assert {name: set(ids) for name, ids in seen.items() if name != "all"} == expected
    assert set(seen["all"]) == set().union(*expected.values())
    assert len(seen["all"]) == 3 * 48
