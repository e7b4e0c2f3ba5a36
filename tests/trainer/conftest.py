"""Small data sets of tf.Examples, and Transform run on them in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from noisy_gru.schema.config import DatasetConfig

# Columns may be called anything.
AMOUNT = "Größe (m²)"
KIND = "kind/of it"
SPLITS = {"train": 128, "eval": 40, "test": 40}

Row = dict[str, list[Any]]


def example(row: Row) -> bytes:
    """A row of lists as a serialized tf.Example: floats, integers or text by the values' type."""
    import tensorflow as tf

    features = {}
    for name, values in row.items():
        first = values[0] if len(values) else 0.0
        if isinstance(first, (bytes, str)):
            encoded = [value.encode() if isinstance(value, str) else value for value in values]
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))
        elif isinstance(first, (int, np.integer)):
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        else:
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


@dataclass
class Transformed:
    """Transform's output on disk: `graph` as TFX's artifact has it, and a file pattern for each split."""

    graph: str
    files: dict[str, list[str]]
    dataset: DatasetConfig
    rows: dict[str, list[Row]]

    def fn_args(self, folder: Path, custom_config: dict[str, Any], **more: Any) -> SimpleNamespace:
        """What TFX would call `run_fn` with."""
        values = {
            "train_files": self.files["train"],
            "eval_files": self.files["eval"],
            "train_steps": None,
            "eval_steps": None,
            "transform_graph_path": self.graph,
            "serving_model_dir": str(folder / "model" / "Format-Serving"),
            "model_run_dir": str(folder / "model_run"),
            "working_dir": str(folder / "working"),
            "hyperparameters": None,
            "base_model": None,
            "custom_config": custom_config,
        }
        return SimpleNamespace(**{**values, **more})


def raw_feature_spec(dataset: DatasetConfig) -> dict[str, Any]:
    """The parsing spec that the curated schema of such a data set gives."""
    import tensorflow as tf

    from noisy_gru.trainer.features import Layout

    layout = Layout(dataset)
    numeric, texts = layout.numeric + layout.static_numeric, layout.categorical + layout.static_categorical
    spec: dict[str, Any] = {feature.name: tf.io.VarLenFeature(tf.float32) for feature in numeric}
    spec |= {feature.name: tf.io.VarLenFeature(tf.string) for feature in texts}
    dtype = tf.string if layout.is_classification else tf.float32
    return spec | {key: tf.io.VarLenFeature(dtype) for key in layout.raw_targets}


def run_transform(dataset: DatasetConfig, rows: dict[str, list[Row]], folder: Path) -> Transformed:
    """Analyse the train rows, transform all splits, and write it as TFX does."""
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils
    from tfx_bsl.public import tfxio

    from noisy_gru.trainer.preprocessing import preprocess

    schema = schema_utils.schema_from_feature_spec(raw_feature_spec(dataset))
    metadata = dataset_metadata.DatasetMetadata(schema)
    graph = str(folder / "transform_graph")
    # Instance dicts in place of Arrow would leave protobuf objects behind that crash the interpreter at its end.
    source = tfxio.TFExampleBeamRecord(physical_format="inmem", telemetry_descriptors=["test"], schema=schema)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline, tft_beam.Context(temp_dir=str(folder / "tmp")):
        batches = pipeline | beam.Create([example(row) for row in rows["train"]]) | source.BeamSource()
        analyzed = (batches, source.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(lambda x: preprocess(x, dataset))
        _ = analyzed | tft_beam.WriteTransformFn(graph)
    metadata_io.write_metadata(metadata, f"{graph}/{tft.TFTransformOutput.RAW_METADATA_DIR}")
    output = tft.TFTransformOutput(graph)
    layer = output.transform_features_layer()
    files = {}
    for split, examples in rows.items():
        path = folder / f"{split}.gz"
        files[split] = [str(path)]
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            for start in range(0, len(examples), 512):
                block = [example(row) for row in examples[start : start + 512]]
                outputs = layer(tf.io.parse_example(block, raw_feature_spec(dataset)))
                columns = {
                    f"{key}$ragged_values" if isinstance(value, tf.RaggedTensor) else key: value.numpy()
                    for key, value in outputs.items()
                }
                for index in range(len(block)):
                    row = {key: np.atleast_1d(value[index]).tolist() for key, value in columns.items()}
                    writer.write(example(row))
    return Transformed(graph, files, dataset, rows)


def classification_rows(count: int, *, seed: int, features: int = 2, classes: int = 3) -> list[Row]:
    """Sequences of 3 to 9 steps whose level tells the class; one value in twenty is missing."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        label = int(random.integers(classes))
        steps = int(random.integers(3, 10))
        values = random.normal(5 + 2 * label, 1.0, (features, steps)).astype(np.float32)
        values[random.random(values.shape) < 0.05] = np.nan
        row: Row = {f"x{index}": values[index].tolist() for index in range(features)}
        rows.append({**row, "label": [f"class {label}"]})
    return rows


def classification_dataset(features: int = 2, **more: Any) -> DatasetConfig:
    return DatasetConfig.model_validate(
        {
            "data": {
                "files": ["*.csv"],
                "entity": "id",
                "time": {"column": "t"},
                "features": [f"x{index}" for index in range(features)],
            },
            "task": {"kind": "classification", "label": "label"},
            **more,
        }
    )


@pytest.fixture(scope="session")
def classification(tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    """Three classes, two features, 96 train and 40 eval and test sequences."""
    rows = {
        "train": classification_rows(96, seed=1),
        "eval": classification_rows(40, seed=2),
        "test": classification_rows(40, seed=3),
    }
    return run_transform(classification_dataset(), rows, tmp_path_factory.mktemp("classification"))


def forecasting_dataset(**task: Any) -> DatasetConfig:
    """Two targets at two horizons; every kind of scaling, a mask, columns known in advance, categorical columns."""
    features = [
        {"name": "temp", "scale": "robust"},
        {"name": "wind", "scale": "minmax", "missing": "mask"},
        {"name": "plan", "known_in_advance": True},
        {"name": "flat"},
        {"name": "empty", "scale": "robust"},
        {"name": "sky", "kind": "categorical", "vocabulary_size": 2, "embedding_dim": 3},
        {"name": "day", "kind": "categorical", "known_in_advance": True, "embedding_dim": 2},
    ]
    return DatasetConfig.model_validate(
        {
            "data": {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": features},
            "task": {
                "kind": "forecasting",
                "targets": ["temp", "wind"],
                "input_length": 4,
                "horizons": [1, 3],
                **task,
            },
        }
    )


def forecasting_rows(count: int, *, seed: int) -> list[Row]:
    """Windows of 4 steps and 3 of the future; temp follows plan, and wind is temp's neighbour."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        plan = random.normal(0, 2, 7).astype(np.float32)
        temp = (50 + np.cumsum(plan)).astype(np.float32)
        wind = (temp / 10 + random.normal(0, 0.1, 7)).astype(np.float32)
        seen = wind[:4].copy()
        seen[random.random(4) < 0.2] = np.nan
        seen[random.random(4) < 0.05] = np.inf
        rows.append(
            {
                "temp": temp[:4].tolist(),
                "wind": seen.tolist(),
                "plan": plan.tolist(),
                "flat": [7.5] * 4,
                "empty": [float("nan")] * 4,
                "sky": ["clear", "rain", "clear", "fog"],
                "day": [f"d{index}" for index in range(7)],
                "target/temp": temp[[4, 6]].tolist(),
                "target/wind": wind[[4, 6]].tolist(),
            }
        )
    return rows


@pytest.fixture(scope="session")
def forecasting(tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    """Windows with everything that forecasting has; 128 train, 40 eval and test."""
    rows = {split: forecasting_rows(count, seed=count + index) for index, (split, count) in enumerate(SPLITS.items())}
    return run_transform(forecasting_dataset(), rows, tmp_path_factory.mktemp("forecasting"))


def regression_dataset() -> DatasetConfig:
    return DatasetConfig.model_validate(
        {
            "data": {
                "files": ["*.csv"],
                "entity": "id",
                "time": {"column": "t"},
                "features": [{"name": AMOUNT, "scale": "none"}, {"name": KIND, "kind": "categorical"}],
            },
            "task": {"kind": "regression", "label": "total"},
        }
    )


def regression_rows(count: int, *, seed: int) -> list[Row]:
    """The label is 100 plus the sum of the amounts whose kind is plus, less the others."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        steps = int(random.integers(2, 8))
        amount = random.normal(size=steps).astype(np.float32)
        plus = random.random(steps) < 0.5
        total = 100 + float(np.where(plus, amount, -amount).sum())
        kinds = ["plus" if is_plus else "minus" for is_plus in plus]
        rows.append({AMOUNT: amount.tolist(), KIND: kinds, "total": [total]})
    return rows


@pytest.fixture(scope="session")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Transformed:
    """A numeric and a categorical feature, one number to predict."""
    rows = {split: regression_rows(count, seed=count + index) for index, (split, count) in enumerate(SPLITS.items())}
    return run_transform(regression_dataset(), rows, tmp_path_factory.mktemp("regression"))


@pytest.fixture(scope="session")
def datasets() -> Any:
    """The functions of this file, for tests that make data of their own."""
    return SimpleNamespace(
        example=example,
        run_transform=run_transform,
        classification_dataset=classification_dataset,
        classification_rows=classification_rows,
        forecasting_dataset=forecasting_dataset,
        forecasting_rows=forecasting_rows,
        regression_dataset=regression_dataset,
    )


@pytest.fixture(scope="session")
def encode() -> Any:
    """The function from a row of lists to a serialized tf.Example."""
    return example
