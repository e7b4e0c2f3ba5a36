"""The components that judge and publish, through TFX's launcher, run after run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru.components.evaluation.config import CompareConfig, EvaluationConfig
from noisy_gru.components.evaluation.evaluation_summary import read_evaluation
from noisy_gru.components.serving_gate.report import read_report
from noisy_gru.components.serving_gate.warmup import WARMUP_FILE, read_requests
from noisy_gru.registry.config import BudgetsConfig
from noisy_gru.registry.published_versions import hash_files, latest_publication, versions
from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import AnomalyError

# TFX, Beam and ML Metadata warn of their own use of what they deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

CLASSES = DatasetConfig.model_validate(
    {
        "data": {"files": ["x.csv"], "entity": "sequence_id", "time": {"column": "t"}, "features": ["a", "b"]},
        "task": {"kind": "classification", "label": "label"},
    }
)
WEATHER = DatasetConfig.model_validate(
    {
        "data": {"files": ["x.csv"], "entity": "sequence_id", "time": {"column": "t"}, "features": ["temp"]},
        "task": {
            "kind": "forecasting",
            "targets": ["temp"],
            "input_length": 3,
            "horizons": [1, 6],
            "season_length": 24,
        },
    }
)
SCHEMA = """
feature { name: "a" type: FLOAT presence { min_fraction: 1 } value_count { min: 1 max: 12 } float_domain { max: 100 } }
feature { name: "b" type: FLOAT presence { min_fraction: 1 } value_count { min: 1 } }
feature { name: "origin" type: BYTES presence { min_fraction: 1 } value_count { min: 1 } domain: "origins" }
feature { name: "label" type: BYTES presence { min_fraction: 1 } value_count { min: 1 max: 1 } }
feature { name: "sequence_id" type: BYTES presence { min_fraction: 1 } value_count { min: 1 max: 1 } }
feature { name: "steps" type: INT presence { min_fraction: 1 } value_count { min: 1 max: 1 } }
string_domain { name: "origins" value: "north" value: "south" }
"""


def write_split(folder: Path, examples: Sequence[bytes]) -> None:
    import tensorflow as tf

    folder.mkdir(parents=True)
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001.gz"), options) as writer:
        for each in examples:
            writer.write(each)


@pytest.fixture(scope="module")
def examples_uri(serialized_examples: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    uri = tmp_path_factory.mktemp("examples")
    for split in ("train", "eval", "test"):
        write_split(uri / f"Split-{split}", serialized_examples)
    return uri


def importer(name: str, uri: Path, kind: str, **properties: Any) -> Any:
    from tfx.dsl.components.common.importer import Importer
    from tfx.types import standard_artifacts

    return Importer(
        source_uri=str(uri), artifact_type=getattr(standard_artifacts, kind), properties=properties or None
    ).with_id(name)


def execute(root: Path, steps: list[Any]) -> Callable[[str], Any]:
    """Runs the steps under ``root``; the answer gives the newest artifact of a type."""
    from ml_metadata.metadata_store import MetadataStore
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.metadata import sqlite_metadata_connection_config
    from tfx.orchestration.pipeline import Pipeline

    connection = sqlite_metadata_connection_config(str(root / "metadata.sqlite"))
    LocalDagRunner().run(
        Pipeline(
            pipeline_name="tiny",
            pipeline_root=str(root / "artifacts"),
            components=steps,
            metadata_connection_config=connection,
            enable_cache=True,
            beam_pipeline_args=["--runner=FnApiRunner"],
        )
    )
    store = MetadataStore(connection)
    return lambda kind: max(store.get_artifacts_by_type(kind), key=lambda artifact: artifact.id)


@pytest.fixture
def run(tmp_path: Path, examples_uri: Path) -> Callable[..., Callable[[str], Any]]:
    """``run(model_uri, evaluation)`` evaluates, gates and pushes a model."""

    def _run(
        model_uri: Path, evaluation: EvaluationConfig, dataset: DatasetConfig = CLASSES, examples: Path = examples_uri
    ) -> Callable[[str], Any]:
        from noisy_gru.components.evaluation.evaluator import build_evaluator
        from noisy_gru.components.latest_blessed.component import LatestBlessed
        from noisy_gru.components.pusher.component import Pusher
        from noisy_gru.components.serving_gate.component import ServingGate

        (tmp_path / "schema").mkdir(exist_ok=True)
        (tmp_path / "schema" / "schema.pbtxt").write_text(SCHEMA)
        data = importer("Examples", examples, "Examples", split_names=json.dumps(["train", "eval", "test"]))
        model = importer("Model", model_uri, "Model")
        schema = importer("Schema", tmp_path / "schema", "Schema")
        graph = importer("Graph", tmp_path / "schema", "TransformGraph")
        latest = LatestBlessed(model.outputs["result"], tmp_path / "serving", "tiny")
        evaluator = build_evaluator(
            examples=data.outputs["result"],
            model=model.outputs["result"],
            baseline_model=latest.outputs["model"],
            dataset=dataset,
            evaluation=evaluation,
            schema=schema.outputs["result"] if dataset is CLASSES else None,
        )
        gate = ServingGate(
            model=model.outputs["result"],
            examples=data.outputs["result"],
            transform_graph=graph.outputs["result"],
            dataset=dataset,
            budgets=BudgetsConfig(batch_size=6),
            model_name="tiny",
        )
        pusher = Pusher(
            model=model.outputs["result"],
            model_blessing=evaluator.outputs["blessing"],
            infra_blessing=gate.outputs["blessing"],
            compared_with=latest.outputs["model"],
            serving_dir=tmp_path / "serving",
            model_name="tiny",
        )
        return execute(tmp_path, [data, model, schema, graph, latest, evaluator, gate, pusher])

    return _run


def integer(artifact: Any, name: str) -> int:
    return artifact.custom_properties[name].int_value


def test_publish_compare_refuse_and_publish_again(
    run: Callable[..., Any],
    exported: tuple[Path, Any],
    export_model: Any,
    serialized_examples: list[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import tensorflow as tf
    from tfx.utils import path_utils

    from noisy_gru.components.serving_gate import executor
    from noisy_gru.components.serving_gate.keras_reference import Reference

    with SessionModel(exported[0]) as session:
        answers = session.run("serving_default", {"examples": serialized_examples})

        def from_examples(examples: list[bytes]) -> dict[str, np.ndarray]:
            return session.run("serving_default", {"examples": examples})

        # The Keras side of a Trainer's model needs Transform's graph; here the first export stands for it.
        monkeypatch.setattr(executor, "keras_reference", lambda *_: Reference(from_examples, from_examples))
        good, serving = exported[0].parent, tmp_path / "serving" / "tiny"
        evaluation = EvaluationConfig.model_validate(
            {"baselines": "report", "slices": [["origin"]], "require_each": ["slice"]}
        )

        # A first run: nothing to compare with, and published.
        newest = run(good, evaluation)
        first = latest_publication(serving)
        assert first is not None
        assert integer(newest("PushedModel"), "pushed") == 1
        pushed = newest("PushedModel").custom_properties
        assert pushed["pushed_version"].string_value == str(first.version)
        assert pushed["pushed_destination"].string_value == str(serving / str(first.version))
        assert first.lineage["model_blessing"] == newest("ModelBlessing").uri
        assert first.lineage["pipeline"] == "tiny"
        assert read_report(Path(newest("noisy_gru.ServingReport").uri))["blessed"]
        # The blessing holds the model with its warm-up, and nothing else is changed.
        assert integer(newest("InfraBlessing"), "has_model") == 1
        stamped = Path(path_utils.stamped_model_path(newest("InfraBlessing").uri))
        requests = read_requests(stamped)
        assert [name.partition("(")[2] for name in requests] == [
            "serving_default, batch of 1)",
            "serving_tensors, batch of 1)",
            "serving_default, batch of 6)",
            "serving_tensors, batch of 6)",
        ]
        files = hash_files(stamped)
        del files[str(WARMUP_FILE)]
        assert files == hash_files(exported[0])
        gate_execution = newest("InfraBlessing").id

        summary = read_evaluation(newest("ModelEvaluation").uri)
        labels = np.array([b"falls", b"rises", b"stays"])[np.arange(40) % 3]
        right = answers["label_bytes"].astype(bytes) == labels
        known = [list(answers["labels_bytes"][0].astype(bytes)).index(label) for label in labels]
        assert summary.blessed
        assert summary.baseline == {}
        assert summary.metrics["example_count"] == 40
        assert summary.metrics["accuracy"] == pytest.approx(right.mean())
        # The column has as many equal values as the sequence has steps, and gives one slice for each.
        assert list(summary.slices) == ["origin=north", "origin=south"]
        assert summary.slices["origin=north"]["example_count"] == 20
        assert summary.slices["origin=south"]["accuracy"] == pytest.approx(right[1::2].mean())

        # Nothing new: published once, and everything else comes from the cache.
        assert first.lineage["compared_with"] == "none"
        evaluated = newest("ModelEvaluation").id
        newest = run(good, evaluation)
        assert (newest("ModelEvaluation").id, newest("InfraBlessing").id) == (evaluated, gate_execution)
        assert versions(serving) == [first.version]

        # Published by a noisy-gru that didn't record what it was compared with: measured beside itself, which it need
        # not beat.
        file = serving / str(first.version) / "publication.json"
        record = json.loads(file.read_text())
        del record["lineage"]["compared_with"], record["identity"], record["checksum"]
        file.write_text(json.dumps(record))
        newest = run(good, EvaluationConfig(baselines="report", compare=CompareConfig(accept="better")))
        summary = read_evaluation(newest("ModelEvaluation").uri)
        assert summary.baseline["accuracy"] == summary.metrics["accuracy"]
        assert integer(newest("PushedModel"), "pushed") == 1
        assert versions(serving) == [first.version]
        assert newest("InfraBlessing").id == gate_execution

        # Another model: misses a threshold, and is not what Keras says it is.
        export_model(tmp_path / "other" / "Format-Serving", seed=1, spoil=lambda p: tf.nn.softmax(-50.0 * p))
        strict = EvaluationConfig.model_validate(
            {
                "slices": [["origin"]],
                "thresholds": {"accuracy": {"min": 0.99}},
                "compare": {"metric": "log_loss", "accept": "better", "margin": 0.25, "slice_margin": 0.5},
                "require_each": ["slice"],
            }
        )
        caplog.clear()
        newest = run(tmp_path / "other", strict)
        summary = read_evaluation(newest("ModelEvaluation").uri)
        assert not summary.blessed
        assert any(
            reason.startswith("accuracy is 0.") and "must be at least 0.99" in reason for reason in summary.reasons
        )
        now, before = summary.metrics["log_loss"], summary.baseline["log_loss"]
        assert before == pytest.approx(-np.log(answers["probabilities"][np.arange(40), known]).mean(), abs=1e-4)
        times = f"({now / before:.3g} times) on 40 test sequences; it may be between "
        worse = f"{now - before:.4g} worse than the {before:.4g} of the published model {times}"
        (reason,) = [reason for reason in summary.reasons if reason.startswith(f"log_loss is {now:.4g}, {worse}")]
        assert reason.endswith("; that it is better by more than 0.25 has to be shown")
        # The bounds are on the whole; the comparison is on the slices, too.
        assert {missed.slice for missed in summary.missed} == {"all"}
        failed = {(each.metric, each.slice) for each in summary.comparisons if each.required and not each.passed}
        assert {("log_loss", "all"), ("log_loss", "origin=north"), ("log_loss", "origin=south")} <= failed
        (north,) = [reason for reason in summary.reasons if reason.startswith("log_loss for origin=north is ")]
        assert " on 20 test sequences; " in north
        assert "that it is not worse by more than 0.5 has to be shown" in north
        # What each model answered leaves the step, sequence by sequence.
        predicted = pd.read_parquet(Path(newest("ModelEvaluation").uri) / "answers").sort_values("sequence_id")
        assert len(predicted) == 40
        assert predicted["published_loss"].mean() == pytest.approx(before)
        assert predicted["candidate_loss"].mean() == pytest.approx(now)
        assert sorted({name for names in predicted["slices"] for name in names}) == ["origin=north", "origin=south"]
        assert integer(newest("ModelBlessing"), "blessed") == 0
        assert integer(newest("InfraBlessing"), "blessed") == 0
        assert integer(newest("InfraBlessing"), "has_model") == 0
        assert not Path(path_utils.stamped_model_path(newest("InfraBlessing").uri)).exists()
        assert integer(newest("PushedModel"), "pushed") == 0
        both = "not published: the Evaluator did not bless it and the ServingGate refused it"
        assert newest("PushedModel").custom_properties["reason"].string_value == both
        assert versions(serving) == [first.version]
        events = [record.__dict__["event"] for record in caplog.records if record.name == "noisy_gru.progress"]
        assert any("the Keras model differ by" in event["message"] for event in events)

        # The serving directory was emptied: the cache must not say that the model is published.
        shutil.rmtree(serving)
        newest = run(good, evaluation)
        assert integer(newest("PushedModel"), "pushed") == 1
        assert len(versions(serving)) == 1


def test_a_forecast_that_only_repeats_the_last_value_is_not_blessed(run: Callable[..., Any], tmp_path: Path) -> None:
    import tensorflow as tf

    class Persistence(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
        def answer(self, examples: Any) -> dict[str, Any]:
            past: Any = tf.io.parse_example(examples, {"temp": tf.io.FixedLenFeature([3], tf.float32)})["temp"]
            return {"predictions": tf.repeat(past[:, 2:, None], 2, axis=1)}

    module = Persistence()
    folder = tmp_path / "model" / "Format-Serving"
    tf.saved_model.save(module, str(folder), {"serving_default": module.answer})
    random = np.random.default_rng(0)
    rows, examples = [], []
    for index in range(25):
        past, target, seasonal = random.normal(size=3), random.normal(size=2), random.normal(size=2)
        if index % 5 == 0:
            seasonal[1] = np.nan
        lists = {
            "temp": past,
            "target/temp": target,
            "naive_last/temp": [past[2]] * 2,
            "naive_seasonal/temp": seasonal,
        }
        feature = {key: tf.train.Feature(float_list=tf.train.FloatList(value=value)) for key, value in lists.items()}
        examples.append(
            tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)
        )
        rows.append((np.float32(past[2]), target.astype(np.float32), seasonal.astype(np.float32)))
    write_split(tmp_path / "examples" / "Split-test", examples)

    newest = run(tmp_path / "model", EvaluationConfig(), WEATHER, tmp_path / "examples")
    summary = read_evaluation(newest("ModelEvaluation").uri)
    errors = np.abs(np.array([last - target for last, target, _ in rows]))
    seasonal_errors = np.abs(np.array([seasonal - target for _, target, seasonal in rows]))
    known = ~np.isnan(seasonal_errors)
    assert summary.metrics["mae"] == pytest.approx(errors.mean(), rel=1e-5)
    assert summary.metrics["mae/temp@6"] == pytest.approx(errors[:, 1].mean(), rel=1e-5)
    assert summary.metrics["mae_naive_seasonal"] == pytest.approx(seasonal_errors[known].mean(), rel=1e-5)
    assert summary.metrics["mae_over_naive_last/temp"] == 1.0
    assert not summary.blessed
    same = f"mae/temp is {errors.mean():.4g}, as good as the {errors.mean():.4g} of repeating the last value (1 times)"
    assert any(reason.startswith(f"{same} on 25 test sequences") for reason in summary.reasons)
    seasonal_too = [each for each in summary.comparisons if (each.against, each.metric) == ("seasonal", "mae/temp@6")]
    assert [each.sequences for each in seasonal_too] == [known[:, 1].sum()]
    assert versions(tmp_path / "serving" / "tiny") == []


def validation(examples_uri: Path, schema: Path) -> list[Any]:
    from tfx.components import ExampleValidator, StatisticsGen
    from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen

    from noisy_gru.components.anomaly_gate.component import AnomalyGate

    data = importer("Examples", examples_uri, "Examples", split_names=json.dumps(["train", "eval", "test"]))
    statistics = StatisticsGen(examples=data.outputs["result"])
    imported = ImportSchemaGen(schema_file=str(schema))
    validator = ExampleValidator(statistics=statistics.outputs["statistics"], schema=imported.outputs["schema"])
    return [data, statistics, imported, validator, AnomalyGate(anomalies=validator.outputs["anomalies"])]


def test_anomalies_stop_the_run_in_words(examples_uri: Path, serialized_examples: list[bytes], tmp_path: Path) -> None:
    for split in ("train", "eval"):
        shutil.copytree(examples_uri / f"Split-{split}", tmp_path / "spoilt" / f"Split-{split}")
    import tensorflow as tf

    spoilt = tf.train.Example.FromString(serialized_examples[0])
    spoilt.features.feature["a"].float_list.value[:] = [1e6] * 13
    spoilt.features.feature["origin"].bytes_list.value[:] = [b"west"]
    write_split(
        tmp_path / "spoilt" / "Split-test", [*serialized_examples, spoilt.SerializeToString(deterministic=True)]
    )
    schema = tmp_path / "schema.pbtxt"
    schema.write_text(SCHEMA)
    with pytest.raises(AnomalyError) as caught:
        execute(tmp_path / "bad", validation(tmp_path / "spoilt", schema))
    message = str(caught.value)
    assert message.startswith("The data doesn't match the schema: 2 features have anomalies.")
    assert "in test: expected values of at most 100; found: Unexpectedly high value: 1e+06" in message
    assert "in test: expected 1 to 12 values in each sequence" in message
    assert (
        "in test: expected one of north, south; found: Examples contain values missing from the schema: west" in message
    )
    assert "in train" not in message

    newest = execute(tmp_path / "good", validation(examples_uri, schema))
    report = Path(newest("noisy_gru.AnomalyReport").uri) / "report.txt"
    assert report.read_text() == "no anomalies in train, eval, test\n"
