"""The module file inside TFX pipelines: ours by dotted name, somebody else's by `module_file=`."""

# TFX does not mark what tfx.v1 exports.

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.saved_model.session import SessionModel
from noisy_gru.trainer import module
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig

# TFX and what it imports warn of themselves; this test is about what runs inside.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def write_examples(rows: dict[str, Any], encode: Any, folder: Path) -> str:
    import tensorflow as tf

    for split, examples in rows.items():
        (folder / split).mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / split / "data.tfrecord")) as writer:
            for row in examples:
                writer.write(encode(row))
    return str(folder)


def run_pipeline(components: list[Any], folder: Path) -> None:
    from tfx import v1 as tfx

    pipeline = tfx.dsl.Pipeline(
        pipeline_name="foreign",
        pipeline_root=str(folder / "artifacts"),
        components=components,
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(folder / "metadata.sqlite")
        ),
        beam_pipeline_args=["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"],
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)


def beginning(transformed: Any, folder: Path, encode: Any) -> tuple[Any, Any]:
    """ImportExampleGen with two splits, and the schema."""
    import tensorflow_transform as tft
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io
    from tfx import v1 as tfx

    splits = [
        tfx.proto.Input.Split(name="train", pattern="train/*"),
        tfx.proto.Input.Split(name="eval", pattern="eval/*"),
    ]
    data = write_examples({k: transformed.rows[k] for k in ("train", "eval")}, encode, folder / "data")
    examples = tfx.components.ImportExampleGen(input_base=data, input_config=tfx.proto.Input(splits=splits))
    schema = tft.TFTransformOutput(transformed.graph).raw_metadata.schema
    metadata_io.write_metadata(dataset_metadata.DatasetMetadata(schema), str(folder / "schema"))
    return examples, tfx.components.ImportSchemaGen(schema_file=str(folder / "schema" / "schema.pbtxt"))


def test_plain_module_file_in_somebody_elses_pipeline(classification: Any, encode: Any, tmp_path: Path) -> None:
    from tfx import v1 as tfx

    config = TrainerConfig.model_validate(
        {
            "training": {"epochs": 2},
            "model": {"layers": [{"units": 4, "stddev": 0.1}]},
            "tuner": {"max_trials": 2, "epochs": 1, "stddev_scales": [3.0], "learning_rates": [0.01]},
        }
    )
    custom_config = CustomConfig(classification.dataset, config).to_dict()
    # Alone in its folder, as a user's module file would be.
    module_file = str(shutil.copy(module.__file__, tmp_path / "module.py"))
    examples, schema = beginning(classification, tmp_path, encode)
    transform = tfx.components.Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        module_file=module_file,
        custom_config=custom_config,
    )
    shared = {
        "module_file": module_file,
        "examples": transform.outputs["transformed_examples"],
        "transform_graph": transform.outputs["transform_graph"],
        "schema": schema.outputs["schema"],
        "train_args": tfx.proto.TrainArgs(),
        "eval_args": tfx.proto.EvalArgs(),
        "custom_config": custom_config,
    }
    tuner = tfx.components.Tuner(**shared)
    trainer = tfx.components.Trainer(hyperparameters=tuner.outputs["best_hyperparameters"], **shared)
    run_pipeline([examples, schema, transform, tuner, trainer], tmp_path)

    (model,) = tmp_path.glob("artifacts/Trainer/model/*/Format-Serving")
    with SessionModel(model) as session:
        answer = session.run("serving_default", {"examples": [encode(row) for row in classification.rows["test"]]})
    assert answer["probabilities"].shape == (40, 3)

    (best,) = tmp_path.glob("artifacts/Tuner/best_hyperparameters/*/*")
    values = json.loads(best.read_text())["values"]
    (results,) = tmp_path.glob("artifacts/Tuner/tuner_results/*/*")
    assert {trial["learn_mean"] for trial in json.loads(results.read_text())} == {0, 1}
    (summary,) = tmp_path.glob("artifacts/Trainer/model_run/*/training.json")
    trained = json.loads(summary.read_text())["trainer"]
    assert trained["model"]["layers"][0]["stddev"] == pytest.approx(0.3)
    assert trained["model"]["learn_mean"] == bool(values["learn_mean"])
    assert trained["training"]["learning_rate"] == 0.01
