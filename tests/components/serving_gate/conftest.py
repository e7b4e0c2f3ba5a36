"""A model with a real Transform before it, for what compares an export with the way of training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.trainer.config import TrainerConfig


@dataclass(frozen=True)
class Trained:
    """What the Trainer and Transform leave, and sequences that neither has seen."""

    dataset: DatasetConfig
    trainer: TrainerConfig
    model: Any
    transform_graph: str
    held_out: list[bytes]


def _sequence(random: np.random.Generator) -> bytes:
    import tensorflow as tf

    steps = int(random.integers(1, 9))
    warm, cold = random.normal(20, 5, steps), random.normal(-300, 40, steps)
    cold[random.random(steps) < 0.1] = np.nan
    lists = {
        "warm": tf.train.Feature(float_list=tf.train.FloatList(value=warm)),
        "cold": tf.train.Feature(float_list=tf.train.FloatList(value=cold)),
        "sky": tf.train.Feature(bytes_list=tf.train.BytesList(value=random.choice([b"clear", b"rain", b""], steps))),
        "yield": tf.train.Feature(float_list=tf.train.FloatList(value=[1000 + 100 * warm.mean()])),
        "steps": tf.train.Feature(int64_list=tf.train.Int64List(value=[steps])),
    }
    return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString(deterministic=True)


def _transform(dataset: DatasetConfig, train: list[bytes], folder: Path) -> str:
    """Runs Transform's analysis in memory, and writes its graph as TFX's artifact has it."""
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils
    from tfx_bsl.public import tfxio

    from noisy_gru.trainer.preprocessing import preprocess

    spec: dict[str, Any] = {name: tf.io.VarLenFeature(tf.float32) for name in ("warm", "cold", "yield")}
    schema = schema_utils.schema_from_feature_spec(spec | {"sky": tf.io.VarLenFeature(tf.string)})
    source = tfxio.TFExampleBeamRecord(physical_format="inmem", telemetry_descriptors=["test"], schema=schema)
    graph = folder / "transform_graph"
    with beam.Pipeline(runner=FnApiRunner()) as pipeline, tft_beam.Context(temp_dir=str(folder / "tmp")):
        batches = pipeline | beam.Create(train) | source.BeamSource()
        analyzed = (batches, source.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(lambda x: preprocess(x, dataset))
        _ = analyzed | tft_beam.WriteTransformFn(str(graph))
    raw = graph / tft.TFTransformOutput.RAW_METADATA_DIR
    metadata_io.write_metadata(dataset_metadata.DatasetMetadata(schema), str(raw))
    return str(graph)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A regression on two numeric features of different scales and a categorical one."""
    import tensorflow_transform as tft

    from noisy_gru.trainer.features import Layout
    from noisy_gru.trainer.model import VocabularySizes, build_model

    dataset = DatasetConfig.model_validate(
        {
            "data": {
                "files": ["x.csv"],
                "entity": "id",
                "time": {"column": "t"},
                "features": ["warm", "cold", {"name": "sky", "kind": "categorical", "embedding_dim": 2}],
            },
            "task": {"kind": "regression", "label": "yield"},
        }
    )
    trainer = TrainerConfig.model_validate({"model": {"layers": [{"units": 6}, {"units": 4}], "serving_step": True}})
    random = np.random.default_rng(5)
    train, held_out = ([_sequence(random) for _ in range(count)] for count in (64, 24))
    graph = _transform(dataset, train, tmp_path_factory.mktemp("trained"))
    layout = Layout(dataset)
    words = tft.TFTransformOutput(graph).vocabulary_size_by_name(layout.vocabulary(0))
    model = build_model(trainer.model, layout, VocabularySizes(vocabularies=(words + 1,)), seed=1, for_serving=True)
    return Trained(dataset, trainer, model, graph, held_out)
