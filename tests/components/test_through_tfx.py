"""Evaluator, LatestBlessed and Pusher through TFX's launcher, run after run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.components.config import EvaluationConfig
from noisy_gru.schema.config import DatasetConfig

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def dataset() -> DatasetConfig:
    return DatasetConfig.model_validate(
        {
            "data": {"files": ["x.csv"], "entity": "sequence_id", "time": {"column": "t"}, "features": ["a", "b"]},
            "task": {"kind": "classification", "label": "label"},
        }
    )


@pytest.fixture(scope="module")
def examples_uri(serialized_examples: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tensorflow as tf

    uri = tmp_path_factory.mktemp("examples")
    for split in ("train", "eval", "test"):
        (uri / f"Split-{split}").mkdir()
        file = uri / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz"
        with tf.io.TFRecordWriter(str(file), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for example in serialized_examples:
                writer.write(example)
    return uri


@pytest.fixture
def run(tmp_path: Path, examples_uri: Path) -> Callable[..., dict[str, Any]]:
    """``run(model_uri, evaluation)`` runs the steps and gives the artifacts of each output."""
    from ml_metadata.metadata_store import MetadataStore
    from tfx import v1 as tfx

    from noisy_gru.components.evaluation.evaluator import build_evaluator
    from noisy_gru.components.latest_blessed.component import LatestBlessed
    from noisy_gru.components.pusher.component import Pusher

    def _run(model_uri: Path, evaluation: EvaluationConfig) -> dict[str, Any]:
        examples = tfx.dsl.Importer(
            source_uri=str(examples_uri),
            artifact_type=tfx.types.standard_artifacts.Examples,
            properties={"split_names": json.dumps(["train", "eval", "test"])},
        ).with_id("Examples")
        model = tfx.dsl.Importer(
            source_uri=str(model_uri), artifact_type=tfx.types.standard_artifacts.Model
        ).with_id("Model")
        latest = LatestBlessed(serving_dir=tmp_path / "serving", model_name="tiny")
        evaluator = build_evaluator(
            examples=examples.outputs["result"],
            model=model.outputs["result"],
            baseline_model=latest.outputs["model"],
            dataset=dataset(),
            evaluation=evaluation,
        )
        pusher = Pusher(
            model=model.outputs["result"],
            model_blessing=evaluator.outputs["blessing"],
            serving_dir=tmp_path / "serving",
            model_name="tiny",
        )
        connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
        tfx.orchestration.LocalDagRunner().run(
            tfx.dsl.Pipeline(
                pipeline_name="tiny",
                pipeline_root=str(tmp_path / "artifacts"),
                components=[examples, model, latest, evaluator, pusher],
                metadata_connection_config=connection,
                enable_cache=True,
                beam_pipeline_args=["--runner=FnApiRunner"],
            )
        )
        store = MetadataStore(connection)
        return {
            kind: store.get_artifacts_by_type(kind)[-1]
            for kind in ("ModelBlessing", "PushedModel", "Model", "ModelEvaluation")
        }

    return _run


def test_first_run_publishes_and_the_next_is_compared(
    run: Callable[..., dict[str, Any]], exported: tuple[Path, Any], tmp_path: Path
) -> None:
    folder, _ = exported
    report = EvaluationConfig(baselines="report")
    first = run(folder.parent, report)
    assert first["ModelBlessing"].custom_properties["blessed"].int_value == 1
    assert first["PushedModel"].custom_properties["pushed"].int_value == 1
    print(first)
    second = run(folder.parent, report)
    print(second)
