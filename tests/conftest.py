"""Small exported models and examples, shaped as docs/architecture.md says, for what judges, publishes and serves."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from noisy_gru.pipeline.runs.process_setup import prepare_process

# A machine under load is slow; and one commit has one verdict. `--hypothesis-profile search` tries new examples.
_NOT_TIMED: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("suite", derandomize=True, **_NOT_TIMED)
settings.register_profile("search", **_NOT_TIMED)
settings.load_profile("suite")
# Where Hypothesis keeps what `@settings` said.
_SETTINGS = "_hypothesis_internal_use_settings"

# The tests' processes import what the command line's do.
prepare_process()
# Some crash on purpose; writing a core of TensorFlow takes longer than others wait for the end of such a process.
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No property test is timed: one that suppresses a health check of its own would else bring back all others."""
    for item in items:
        test: Any = getattr(item, "obj", None)
        own: settings | None = getattr(test, _SETTINGS, None)
        if own is not None and HealthCheck.too_slow not in own.suppress_health_check:
            checks = [*own.suppress_health_check, HealthCheck.too_slow]
            setattr(test, _SETTINGS, settings(own, deadline=None, suppress_health_check=checks))


FEATURES = ("a", "b")
CLASSES = (b"falls", b"rises", b"stays")
GRU_UNITS = 5


def _model(seed: int) -> Any:
    import keras

    keras.utils.set_random_seed(seed)
    sequences = keras.Input((None, len(FEATURES)))
    mask = keras.Input((None,), dtype="bool")
    _, state = keras.layers.GRU(GRU_UNITS, use_cudnn="auto", return_state=True, name="gru")(sequences, mask=mask)
    return keras.Model([sequences, mask], keras.layers.Dense(len(CLASSES), activation="softmax", name="head")(state))


def _read(features: Any, lengths: Any) -> list[Any]:
    import tensorflow as tf

    features = tf.pad(features, [[0, 0], [0, 1], [0, 0]])  # a GRU fails on a time axis of no steps
    mask = tf.sequence_mask(lengths, tf.shape(features)[1])
    return [tf.where(mask[:, :, None] & ~tf.math.is_nan(features), features, 0.0), mask]


def _answer(probabilities: Any, spoil: Callable[[Any], Any] | None) -> dict[str, Any]:
    import tensorflow as tf

    if spoil is not None:
        probabilities = spoil(probabilities)
    class_id = tf.argmax(probabilities, axis=1, output_type=tf.int64)
    labels: Any = tf.constant(CLASSES)
    return {
        "probabilities": probabilities,
        "class_id": class_id,
        "label_bytes": tf.gather(labels, class_id),
        "labels_bytes": tf.repeat(labels[None, :], tf.shape(probabilities)[0], axis=0),
    }


def _parse(examples: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    spec = {name: tf.io.RaggedFeature(tf.float32, row_splits_dtype=tf.int64) for name in FEATURES}
    lists = tf.io.parse_example(examples, spec)
    return tf.stack([lists[name].to_tensor() for name in FEATURES], axis=-1), lists[FEATURES[0]].row_lengths()


@pytest.fixture(scope="session")
def export_model() -> Callable[..., Any]:
    """``export(folder, …)`` writes a SavedModel of the contract and returns the Keras model.

    ``spoil`` changes the probabilities inside the graph, ``drop`` names signatures left out, ``track`` takes the model
    and gives what the export tracks besides the variables that it uses. With ``step`` there is a `serving_step`: it
    changes the state that comes in (`lambda state: state` is right). ``twist`` changes the features that
    `serving_tensors` alone is given.
    """
    import keras
    import tensorflow as tf

    def export(
        folder: Path,
        seed: int = 0,
        spoil: Any = None,
        drop: tuple[str, ...] = (),
        track: Any = None,
        step: Callable[[Any], Any] | None = None,
        twist: Callable[[Any], Any] = lambda features: features,
    ) -> Any:
        model = _model(seed)
        archive: Any = keras.export.ExportArchive()
        if track is not None:
            archive.track(track(model))

        def answer(features: Any, lengths: Any) -> dict[str, Any]:
            return _answer(model(_read(features, lengths), training=False), spoil)

        @tf.function(input_signature=[tf.TensorSpec([None, None, 2], tf.float32), tf.TensorSpec([None], tf.int64)])
        def tensors(features: Any, lengths: Any) -> dict[str, Any]:
            return answer(twist(features), lengths)

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, None, 2], tf.float32, "features"),
                tf.TensorSpec([None], tf.int64, "lengths"),
                tf.TensorSpec([None, GRU_UNITS], tf.float32, "state"),
            ]
        )
        def stepped(features: Any, lengths: Any, state: Any) -> dict[str, Any]:
            known, mask = _read(features, lengths)
            before = step(state) if step is not None else state
            _, after = model.get_layer("gru")(known, mask=mask, initial_state=before)
            return {**_answer(model.get_layer("head")(after), spoil), "state": after}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def default(examples: Any) -> dict[str, Any]:
            return answer(*_parse(examples))

        if "serving_default" not in drop:
            archive.add_endpoint("serving_default", default)
        if "serving_tensors" not in drop:
            archive.add_endpoint("serving_tensors", tensors)
        if step is not None:
            archive.add_endpoint("serving_step", stepped)
        archive.write_out(str(folder), verbose=False)
        return model

    return export


@pytest.fixture(scope="session")
def exported(export_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A good SavedModel and the Keras model it was made of."""
    folder = tmp_path_factory.mktemp("exported") / "Format-Serving"
    return folder, export_model(folder)


def example(rows: np.ndarray, label: bytes, name: str, origin: bytes = b"north") -> bytes:
    """A serialized tf.Example of a sequence, rows by ``FEATURES``."""
    import tensorflow as tf

    feature: dict[str, Any] = {
        key: tf.train.Feature(float_list=tf.train.FloatList(value=rows[:, index])) for index, key in enumerate(FEATURES)
    }
    feature["origin"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[origin] * len(rows)))
    feature["label"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[label]))
    feature["sequence_id"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[name.encode()]))
    feature["steps"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[len(rows)]))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)


@pytest.fixture(scope="session")
def serialized_examples() -> list[bytes]:
    """40 sequences of 3 to 12 steps, of three classes and two origins."""
    random = np.random.default_rng(3)
    return [
        example(
            random.normal(size=(3 + index % 10, len(FEATURES))).astype(np.float32),
            CLASSES[index % 3],
            f"s{index}",
            (b"north", b"south")[index % 2],
        )
        for index in range(40)
    ]
