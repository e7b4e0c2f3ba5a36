"""A warm start: the new model first answers as the old one did, whatever moved; or says what speaks against it."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.export.saved_model import load_keras
from noisy_gru.trainer.export.served_model import ServedModel
from noisy_gru.trainer.model import VocabularySizes, build_model
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.module import run_fn
from noisy_gru.trainer.transform_record import Scale, TransformRecord, read_record
from noisy_gru.trainer.warm_start.base_differences import differences
from noisy_gru.trainer.warm_start.weight_transfer import transfer_weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning"),
]


class Fitted:
    """A fitted Transform, and a model for it with weights drawn from a seed, biases included."""

    def __init__(self, transformed: Any, config: ModelConfig, seed: int):
        import tensorflow_transform as tft

        from noisy_gru.trainer.features import Layout

        self.layout, self.transform = Layout(transformed.dataset), tft.TFTransformOutput(transformed.graph)
        self.record = read_record(self.transform, self.layout)
        vocabularies = tuple(len(words) + 1 for words in self.record.vocabularies.values())
        sizes = VocabularySizes(len(self.record.labels), vocabularies)
        self.model = build_model(config, self.layout, sizes, seed=seed)
        random = np.random.default_rng(seed)
        self.model.set_weights([random.normal(0, 0.5, each.shape) for each in self.model.get_weights()])

    def answers(self, examples: list[bytes]) -> dict[str, np.ndarray]:
        served = ServedModel(self.model, self.transform, self.layout)
        return {name: np.asarray(value) for name, value in served.from_examples(examples).items()}


def started(old: Any, new: Any, config: ModelConfig) -> tuple[Fitted, Fitted]:
    """The old model, and the new one after a warm start from it."""
    before, after = Fitted(old, config, seed=1), Fitted(new, config, seed=2)
    transfer_weights(
        before.model, after.model, before=before.record, after=after.record, layout=after.layout, config=config
    )
    return before, after


@pytest.fixture(scope="module")
def shifted_forecasting(datasets: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Other levels, spreads, frequencies of words and patterns of missing values than those of `forecasting`."""
    rows = datasets.forecasting_rows(60, seed=77)
    random = np.random.default_rng(7)
    for row in rows:
        row["temp"] = [1.4 * value + 3 for value in row["temp"]]
        row["wind"] = [0.7 * value - 1 for value in row["wind"]]
        row["plan"] = [1.5 * value - 1 for value in row["plan"]]
        row["flat"] = [8.0] * 4
        row["sky"] = ["rain", "rain", "clear", "rain"]
        row["day"] = [f"d{int(index)}" for index in random.integers(0, 7, 7)]
        row["target/temp"] = [1.3 * value + 2 for value in row["target/temp"]]
        row["target/wind"] = [0.8 * value - 1 for value in row["target/wind"]]
    rows = {"train": rows, "eval": rows[:4]}
    return datasets.run_transform(datasets.forecasting_dataset(), rows, tmp_path_factory.mktemp("shifted"))


@pytest.mark.parametrize(
    "model",
    [
        {"layers": [{"units": 5}, {"units": 4}]},
        {"layers": [{"units": 4}], "target": "difference", "bidirectional": True, "learn_mean": True, "hidden": [3]},
        {"layers": [{"units": 4}], "pooling": "mean", "fused": False},
        {"layers": [{"units": 5}, {"units": 4}], "future": "targets"},
        {"layers": [{"units": 4}], "target": "difference", "future": "targets", "bidirectional": True},
    ],
)
def test_a_forecast_is_the_old_one_on_scales_that_moved(
    model: dict[str, Any], forecasting: Any, shifted_forecasting: Any, encode: Any
) -> None:
    before, after = started(forecasting, shifted_forecasting, ModelConfig.model_validate(model))
    assert before.record.vocabularies["sky"] == ["clear", "rain"]
    assert after.record.vocabularies["sky"] == ["rain", "clear"]
    assert before.record.vocabularies["day"] != after.record.vocabularies["day"]
    for name in ("temp", "wind", "plan"):
        assert abs(before.record.numeric[name].centre - after.record.numeric[name].centre) > 0.3
    examples = [encode(row) for each in (forecasting, shifted_forecasting) for row in each.rows["eval"]]
    if model.get("target") != "difference" and model.get("future") != "targets":
        # Without any value at all, only the head is asked. A difference would be from the new data's centre, and so is
        # what is known of a target's time.
        examples.append(b"")
    expected, received = before.answers(examples)["predictions"], after.answers(examples)["predictions"]
    scale = [before.record.targets[name].scale for name in ("temp", "wind")]
    assert np.ptp(expected, axis=0).min() > 0.1
    np.testing.assert_allclose(received / scale, expected / scale, rtol=0, atol=1e-5)


def test_an_amount_with_words_that_came_and_went(regression: Any, datasets: Any, encode: Any, tmp_path: Path) -> None:
    amount, kind = (feature.name for feature in regression.dataset.data.features)
    rows = [{amount: [1.0, float(index)], kind: ["zero", "plus"], "total": [200.0 + 3 * index]} for index in range(20)]
    new = datasets.run_transform(datasets.regression_dataset(), {"train": rows, "eval": rows}, tmp_path)
    before, after = started(regression, new, ModelConfig.model_validate({"layers": [{"units": 4}]}))
    assert sorted(before.record.vocabularies[kind]) == ["minus", "plus"]
    assert sorted(after.record.vocabularies[kind]) == ["plus", "zero"]
    examples = [encode(row) for row in rows]
    expected, received = before.answers(examples)["predictions"], after.answers(examples)["predictions"]
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(received, expected, rtol=1e-5)
    # A word that is gone is one of the unknown ones.
    gone = after.answers([encode({amount: [1.0], kind: ["minus"]}), encode({amount: [1.0], kind: ["never seen"]})])
    assert gone["predictions"][0] == gone["predictions"][1]


def test_classes_go_by_their_names(classification: Any, datasets: Any, encode: Any, tmp_path: Path) -> None:
    rows = datasets.classification_rows(120, seed=9, classes=4)
    # Now the last of the old classes is the most frequent, the first is gone, and there is a new one.
    rows = [row for row in rows if row["label"] != ["class 0"]]
    rows += [row for row in rows if row["label"] == ["class 2"]]
    new = datasets.run_transform(classification.dataset, {"train": rows, "eval": rows}, tmp_path)
    before, after = started(classification, new, ModelConfig.model_validate({"layers": [{"units": 4}]}))
    assert (set(before.record.labels), set(after.record.labels)) == (
        {"class 0", "class 1", "class 2"},
        {"class 1", "class 2", "class 3"},
    )
    assert after.record.labels[0] == "class 2"
    # No value may be missing: without a mask it becomes the new centre.
    examples = [encode(row) for row in rows if np.isfinite(row["x0"] + row["x1"]).all()]
    columns = [[each.record.labels.index(name) for name in ("class 1", "class 2")] for each in (before, after)]
    expected, received = (
        each.answers(examples)["probabilities"][:, chosen]
        for each, chosen in zip((before, after), columns, strict=True)
    )
    # The other classes differ, so what is left to compare is one against the other.
    odds = [np.log(each[:, 0] / each[:, 1]) for each in (expected, received)]
    assert np.ptp(odds[0]) > 0.1
    np.testing.assert_allclose(odds[1], odds[0], rtol=0, atol=1e-5)


def test_scales_are_read_as_numpy_has_them(forecasting: Any) -> None:
    record = Fitted(forecasting, ModelConfig(), seed=0).record
    values = {
        name: np.array([value for row in forecasting.rows["train"] for value in row[name]], np.float64)
        for name in ("temp", "wind", "plan")
    }
    plan, wind = record.numeric["plan"], values["wind"][np.isfinite(values["wind"])]
    assert (plan.centre, plan.scale) == pytest.approx((values["plan"].mean(), values["plan"].std()), rel=1e-6)
    found = record.numeric["wind"]
    assert (found.centre, found.scale, found.fill) == pytest.approx((wind.min(), np.ptp(wind), wind.mean()), rel=1e-6)
    assert record.numeric["flat"] == Scale(7.5, 1.0, 7.5)
    assert TransformRecord.from_json(record.to_json()) == record


PLAIN = TransformRecord({"a": Scale(10.0, 2.0, 10.0)}, {"k": ["x", "y", "z", "u"]}, ["no", "yes"], {})


def given(model: dict[str, Any] | None = None, **changes: Any) -> CustomConfig:
    features = changes.pop("features", ["a", {"name": "k", "kind": "categorical"}])
    task = changes.pop("task", {"kind": "classification", "label": "y"})
    dataset = DatasetConfig.model_validate(
        {"data": {"files": ["*"], "entity": "id", "time": {"column": "t"}, "features": features}, "task": task}
    )
    return CustomConfig(dataset, TrainerConfig.model_validate({"model": model or {}}))


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (given({"layers": [{"units": 64}, {"units": 8}]}), ["model.layers' units was [64, 32, 16], is [64, 8]"]),
        (given({"pooling": "mean", "hidden": [3]}), ["model.pooling was last, is mean", "model.hidden was [], is [3]"]),
        (given(features=["a", "b"]), ["feature b is new", "feature k is removed"]),
        (
            given(features=[{"name": "a", "missing": "mask"}, {"name": "k", "kind": "categorical"}]),
            ["feature a: missing was impute, is mask"],
        ),
        (
            given(features=[{"name": "k", "kind": "categorical"}, "a"]),
            ["the features are in another order: they were a, k, and are k, a"],
        ),
        (given(task={"kind": "classification", "label": "z"}), ["task.label was y, is z"]),
        (given(task={"kind": "regression", "label": "y"}), ["task.kind was classification, is regression"]),
        # What changes neither the weights' number nor their meaning.
        (given({"layers": [{"units": n, "stddev": 0.5} for n in (64, 32, 16)], "fused": False}), []),
    ],
)
def test_another_model_or_other_data_is_refused(after: CustomConfig, message: list[str]) -> None:
    assert differences(given(), after, PLAIN, PLAIN) == message


@pytest.mark.parametrize(
    ("timezone", "entry", "reasons"),
    [
        ("UTC", {}, []),
        (
            "Europe/Berlin",
            {},
            [f"feature hour_of_day_{part}: data.time.timezone was UTC, is Europe/Berlin" for part in ("sin", "cos")],
        ),
        (
            "UTC",
            {"known_in_advance": True},
            [f"feature hour_of_day_{part}: known_in_advance was False, is True" for part in ("sin", "cos")],
        ),
    ],
)
def test_a_calendar_that_means_another_time_is_refused(
    timezone: str, entry: dict[str, Any], reasons: list[str]
) -> None:
    def custom_config(timezone: str, entry: dict[str, Any]) -> CustomConfig:
        time = {"column": "t", "kind": "timestamp", "timezone": timezone}
        features = ["a", {"calendar": "hour_of_day", **entry}]
        task = {"kind": "forecasting", "targets": ["a"], "input_length": 4, "horizons": [1]}
        data = {"files": ["*"], "entity": "id", "time": time, "features": features}
        dataset = DatasetConfig.model_validate({"data": data, "task": task})
        return CustomConfig(dataset, TrainerConfig.model_validate({}))

    scales = {"a": Scale(1.0, 1.0, 1.0)} | dict.fromkeys(("hour_of_day_sin", "hour_of_day_cos"), Scale(0.0, 1.0, 0.0))
    record = TransformRecord(scales, {}, [], {"a": Scale(0.0, 1.0, 0.0)})
    found = differences(custom_config("UTC", {}), custom_config(timezone, entry), record, record)
    assert found == reasons


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numeric": {"a": Scale(12.0, 4.0, 12.0)}}, []),
        (
            {"numeric": {"a": Scale(12.5, 2.0, 12.5)}},
            [
                "feature a: its centre moved from 10 to 12.5, by 1.25 of its scale; at most 1 is allowed "
                "(max_scale_shift)"
            ],
        ),
        (
            {"numeric": {"a": Scale(10.0, 0.5, 10.0)}},
            ["feature a: its scale went from 2 to 0.5, by a factor of 4; at most 2 is allowed (max_scale_ratio)"],
        ),
        ({"vocabularies": {"k": ["z", "u", "y", "x", "new"]}}, []),
        (
            {"vocabularies": {"k": ["x", "new", "y", "z"]}},
            ["1 of 4 values of k are new (new); at most 20% may be (max_new_tokens)"],
        ),
        ({"labels": ["no", "maybe", "yes"]}, ["1 of 3 classes are new (maybe); at most 20% may be (max_new_tokens)"]),
        ({"labels": ["yes", "no"]}, []),
    ],
)
def test_what_moved_past_a_limit_is_refused(changes: dict[str, Any], message: list[str]) -> None:
    assert differences(given(), given(), PLAIN, dataclasses.replace(PLAIN, **changes)) == message


def test_a_target_that_moved_is_refused() -> None:
    custom_config = given(task={"kind": "regression", "label": "y"})
    before = dataclasses.replace(PLAIN, labels=[], targets={"y": Scale(0.0, 1.0, 0.0)})
    after = dataclasses.replace(before, targets={"y": Scale(3.0, 1.0, 3.0)})
    (reason,) = differences(custom_config, custom_config, before, after)
    assert reason.startswith("target y: its centre moved from 0 to 3, by 3 of its scale")


def config(**training: Any) -> TrainerConfig:
    values = {"epochs": 3, "learning_rate": 0.01, **training}
    return TrainerConfig.model_validate({"model": {"layers": [{"units": 3}]}, "training": values, "seed": 3})


def run(
    transformed: Any, folder: Path, trainer: TrainerConfig, base: Path | None = None, **warm_start: Any
) -> dict[str, Any]:
    """Trains; what `training.json` says."""
    custom = {**CustomConfig(transformed.dataset, trainer, working_dir=str(folder / "work")).to_dict()}
    path = None if base is None else str(base / "Format-Serving")
    run_fn(transformed.fn_args(folder, {**custom, "warm_start": warm_start}, base_model=path))
    return json.loads((folder / "model_run" / "training.json").read_text())


def weights(folder: Path) -> list[np.ndarray]:
    return load_keras(str(folder / "model" / "Format-Keras"))[0].get_weights()


@pytest.fixture(scope="module")
def base(classification: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model artifact of a training of some epochs."""
    folder = tmp_path_factory.mktemp("base")
    assert run(classification, folder, config(epochs=20))["warm_start"] is None
    return folder / "model"


def test_training_goes_on_from_the_base(classification: Any, base: Path, tmp_path: Path) -> None:
    # At this rate nothing moves, so what comes out is what went in.
    reported = run(classification, tmp_path, config(epochs=1), base, learning_rate_factor=1e-12)
    outcome = reported["warm_start"]
    assert (outcome["used"], outcome["reasons"], outcome["proof"]) == (True, [], None)
    assert (outcome["base"]["version"], len(outcome["base"]["digest"])) == (None, 64)
    assert json.loads((tmp_path / "model" / "Format-Keras" / "warm_start.json").read_text()) == outcome
    for new, old in zip(weights(tmp_path), load_keras(str(base / "Format-Keras"))[0].get_weights(), strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=5e-6)


def test_a_refused_base_is_told_and_trained_without(classification: Any, base: Path, tmp_path: Path) -> None:
    trainer = config(epochs=1).model_copy(update={"model": ModelConfig.model_validate({"layers": [{"units": 4}]})})
    reported = run(classification, tmp_path, trainer, base, prove=True)
    assert reported["warm_start"]["used"] is False
    assert reported["warm_start"]["reasons"] == ["model.layers' units was [3], is [4]"]
    # Without anything to prove, it was trained once.
    assert not (tmp_path / "model_run" / "cold").exists()
    assert weights(tmp_path)[0].shape == (2, 12)


@pytest.fixture(scope="module")
def proved(classification: Any, base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A training with `prove` that nothing disturbed: its folder, and what it says."""
    folder = tmp_path_factory.mktemp("proved")
    return folder, run(classification, folder, config(), base, prove=True)


def test_the_proof_keeps_the_better_and_tells_both(
    classification: Any, base: Path, proved: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    reported = proved[1]
    proof = reported["warm_start"]["proof"]
    assert (proof["monitor"], proof["mode"], proof["kept"]) == ("val_loss", "min", "warm")
    assert proof["warm"] < proof["cold"]
    assert reported["final"]["val_loss"] == proof["warm"]
    assert reported["warm_start"]["used"] is True

    # A base that is worse than nothing: the head's weights stand on their head.
    model, custom_config = load_keras(str(base / "Format-Keras"))
    logits = model.get_layer("logits")
    logits.set_weights([-30 * each for each in logits.get_weights()])
    bad = tmp_path / "bad" / "Format-Keras"
    bad.mkdir(parents=True)
    model.save(bad / "model.keras")
    # An earlier release may have had other settings of the training; they don't matter here.
    written = custom_config.to_dict()
    written["trainer"]["training"]["of_an_earlier_release"] = True
    (bad / "settings.json").write_text(json.dumps(written))
    (bad / "transform.json").write_text((base / "Format-Keras" / "transform.json").read_text())
    reported = run(classification, tmp_path / "disproved", config(), bad.parent, prove=True)
    outcome = reported["warm_start"]
    assert (outcome["used"], outcome["proof"]["kept"]) == (False, "cold")
    assert outcome["reasons"][0].startswith("new weights are better: val_loss ")
    # The same seed and budget in both proofs, so the same cold training.
    assert outcome["proof"]["cold"] == proof["cold"] == reported["final"]["val_loss"] < outcome["proof"]["warm"]


class Interrupt(logging.Handler):
    """Ends the process's training when it reports the given epoch for the second time: in the cold training."""

    def __init__(self, epoch: int):
        super().__init__()
        self.epoch, self.seen, self.lines = epoch, 0, []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if record.__dict__["event"].get("epoch") == self.epoch and record.__dict__["event"]["kind"] == "epoch":
            self.seen += 1
            if self.seen == 2:
                raise KeyboardInterrupt


def test_a_proof_that_was_interrupted_goes_on(
    classification: Any,
    base: Path,
    proved: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("noisy_gru.progress")
    caplog.set_level(logging.INFO, "noisy_gru.progress")
    interrupt, listener = Interrupt(epoch=3), Interrupt(epoch=0)
    arguments = (classification, tmp_path / "disturbed", config(), base)
    logger.addHandler(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(*arguments, prove=True)
    finally:
        logger.removeHandler(interrupt)
    assert len(list((tmp_path / "disturbed" / "work").glob("training-*/state.npz"))) == 2
    logger.addHandler(listener)
    try:
        reported = run(*arguments, prove=True)
    finally:
        logger.removeHandler(listener)
    # Of the warm training nothing was left to do, of the cold one the last epoch.
    assert [line.split(" of ")[0] for line in listener.lines if line.startswith("resuming")] == [
        "resuming after epoch 3",
        "resuming after epoch 2",
    ]
    assert len([line for line in listener.lines if line.startswith("epoch ")]) == 1
    assert reported["warm_start"] == proved[1]["warm_start"]
    for gone_on, left_alone in zip(weights(tmp_path / "disturbed"), weights(proved[0]), strict=True):
        np.testing.assert_array_equal(gone_on, left_alone)
    assert not list((tmp_path / "disturbed" / "work").iterdir())


def test_what_there_is_not_to_start_from(classification: Any, base: Path, tmp_path: Path) -> None:
    from noisy_gru.trainer.warm_start.warm_start import WarmStart

    record = TransformRecord.from_json((base / "Format-Keras" / "transform.json").read_text())
    custom_config = CustomConfig(classification.dataset, config())

    def find(folder: Path) -> WarmStart:
        return WarmStart.find(str(folder / "Format-Serving"), custom_config, record)

    # Named by a person, it has to be there.
    with pytest.raises(ConfigError, match=r"base_model: .*Format-Keras holds no model\.keras to start from"):
        find(tmp_path / "nothing")
    first = tmp_path / "first"
    first.mkdir()
    (first / "base.json").write_text(json.dumps({"version": None, "fingerprint": None, "note": "a first run"}))
    assert (find(first).base, find(first).reasons) == ({}, ["a first run"])
    for name, change, message in (
        ("transform.json", None, r"the base model has no transform.json: an older version"),
        ("transform.json", b"{}", r"can't be read (KeyError: 'format')"),
        ("model.keras", b"PK of nothing", r"can't be read ("),
        (
            "settings.json",
            b'{"dataset": {"no": 1}, "trainer": {"model": {}}}',
            r"can't be read (ConfigError: custom_config['dataset']",
        ),
    ):
        folder = tmp_path / f"{name}-{len(message)}"
        (folder / "Format-Keras").mkdir(parents=True)
        for file in ("model.keras", "settings.json", "transform.json"):
            content = (base / "Format-Keras" / file).read_bytes() if file != name else change
            if content is not None:
                (folder / "Format-Keras" / file).write_bytes(content)
        (reason,) = find(folder).reasons
        assert message in reason
    found = find(base)
    assert found.reasons == [] and isinstance(found.model, keras.Model)


def test_another_reading_of_what_is_known_in_advance_is_refused() -> None:
    features = ["a", {"name": "p", "known_in_advance": True}]
    task = {"kind": "forecasting", "targets": ["a"], "input_length": 4, "horizons": [1]}
    record = TransformRecord({"a": Scale(0, 1, 0), "p": Scale(0, 1, 0)}, {}, [], {"a": Scale(0, 1, 0)})
    before, same, other = (
        given({"future": future}, features=features, task=task) for future in ("auto", "steps", "targets")
    )
    assert differences(before, same, record, record) == []
    assert differences(before, other, record, record) == ["model.future was steps, is targets"]
