"""Module file of Transform and Trainer for the Japanese vowels, written with stock TFX and Keras alone."""

# Generated code and Keras' type hints, of which type checkers see little.
from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx_bsl.public import tfxio

FEATURES = [f"c{number:02d}" for number in range(1, 13)]
LABEL, CLASSES = "speaker", 9
UNITS, BATCH, EPOCHS = (64, 32, 16), 32, 60


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Scale every feature; index the label."""
    outputs: dict[str, Any] = {name: tft.scale_to_z_score(inputs[name]) for name in FEATURES}
    outputs[LABEL] = tft.compute_and_apply_vocabulary(_dense(inputs[LABEL], ""), vocab_filename=LABEL)
    return outputs


def run_fn(fn_args: Any) -> None:
    """Train the stack of stock GRUs, and export it with the signatures that the Evaluator needs."""
    keras.utils.set_random_seed(0)
    transform = tft.TFTransformOutput(fn_args.transform_output)
    options = tfxio.TensorFlowDatasetOptions(batch_size=BATCH, num_epochs=1, shuffle=True)
    read = fn_args.data_accessor.tf_dataset_factory(fn_args.train_files, options, transform.transformed_metadata.schema)
    train = read.map(lambda columns: (_stacked(columns), _dense(columns[LABEL], 0))).cache().prefetch(tf.data.AUTOTUNE)
    model = _model()
    model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(train, epochs=EPOCHS, verbose=2)

    layer = transform.transform_features_layer()
    raw = transform.raw_feature_spec()

    def serve(examples: Any) -> Any:
        spec = {name: raw[name] for name in FEATURES}
        return {"probabilities": model(_stacked(layer(tf.io.parse_example(examples, spec))))}

    def transformed(examples: Any) -> Any:
        return {LABEL: _dense(layer(tf.io.parse_example(examples, raw))[LABEL], 0)}

    archive = keras.export.ExportArchive()
    archive.track(layer)
    archive.track(model)
    signature = [tf.TensorSpec([None], tf.string, "examples")]
    archive.add_endpoint("serving_default", serve, signature)
    archive.add_endpoint("transform_features", transformed, signature)
    archive.write_out(fn_args.serving_model_dir)


def _model() -> keras.Model:
    inputs = keras.Input((None, len(FEATURES)))
    hidden = keras.layers.Masking()(inputs)
    for layer, units in enumerate(UNITS):
        gru = keras.layers.GRU(units, return_sequences=layer + 1 < len(UNITS))
        hidden = keras.layers.Bidirectional(gru)(hidden)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, "softmax")(hidden))


def _stacked(columns: dict[str, Any]) -> Any:
    """Features [B, T, F], filled up with zeros."""
    return tf.stack([tf.sparse.to_dense(columns[name]) for name in FEATURES], axis=2)


def _dense(column: Any, missing: Any) -> Any:
    return (
        tf.sparse.to_dense(column, missing)[:, 0] if isinstance(column, tf.SparseTensor) else tf.reshape(column, [-1])
    )
