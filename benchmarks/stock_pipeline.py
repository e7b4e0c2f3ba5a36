"""The steps of the Japanese vowels' pipeline as TFX's own components do them, on sequences that are there already.

    python -m benchmarks.stock_pipeline EXAMPLES SCHEMA ROOT

EXAMPLES holds Split-train and Split-test of tf.Example, as SequenceExampleGen leaves them: TFX has no component that
makes sequences of rows, so what that takes is not in here. Prints the seconds of each component as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def components(examples: str, schema: str, root: Path) -> list[Any]:
    """ImportExampleGen to Pusher."""
    import tensorflow_model_analysis as tfma
    from tfx import v1 as tfx

    from benchmarks.stock_module import LABEL, preprocessing_fn, run_fn

    split = tfx.proto.Input.Split
    source = tfx.proto.Input(splits=[split(name=name, pattern=f"Split-{name}/*") for name in ("train", "test")])
    read = tfx.components.ImportExampleGen(input_base=examples, input_config=source)
    data = read.outputs["examples"]
    statistics = tfx.components.StatisticsGen(examples=data)
    contract = tfx.components.ImportSchemaGen(schema_file=schema)
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=contract.outputs["schema"]
    )
    transform = tfx.components.Transform(
        examples=data,
        schema=contract.outputs["schema"],
        preprocessing_fn=f"{preprocessing_fn.__module__}.{preprocessing_fn.__name__}",
        splits_config=tfx.proto.SplitsConfig(analyze=["train"], transform=["train", "test"]),
    )
    trainer = tfx.components.Trainer(
        run_fn=f"{run_fn.__module__}.{run_fn.__name__}",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=contract.outputs["schema"],
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["test"]),
    )
    metrics = [
        tfma.MetricsSpec(
            metrics=[
                tfma.MetricConfig(
                    class_name="SparseCategoricalAccuracy",
                    threshold=tfma.MetricThreshold(
                        value_threshold=tfma.GenericValueThreshold(lower_bound={"value": 0.9})
                    ),
                )
            ]
        )
    ]
    config = tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name="serving_default",
                label_key=LABEL,
                preprocessing_function_names=["transform_features"],
            )
        ],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=[LABEL])],
        metrics_specs=metrics,
    )
    evaluator = tfx.components.Evaluator(
        examples=data, model=trainer.outputs["model"], eval_config=config, example_splits=["test"]
    )
    pusher = tfx.components.Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(root / "serving"))
        ),
    )
    return [read, statistics, contract, validator, transform, trainer, evaluator, pusher]


def main(examples: str, schema: str, root: str) -> None:
    """Run it, in the order of the components."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from tfx import v1 as tfx

    folder = Path(root)
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="stock",
        pipeline_root=str(folder / "artifacts"),
        components=components(examples, schema, folder),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(folder / "metadata.sqlite")
        ),
        # As this project's pipeline: TFX's default would build a package of itself for every Beam step.
        beam_pipeline_args=["--runner=FnApiRunner", "--sdk_container_image=unused", "--direct_num_workers=1"],
    )
    began = time.perf_counter()
    tfx.orchestration.LocalDagRunner().run(pipeline)
    if not list((folder / "serving").glob("*")):
        raise RuntimeError("The stock pipeline published nothing.")
    print(json.dumps({"seconds": round(time.perf_counter() - began, 1)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
