"""An exported model from three first states: its own, noise, and another sequence's last one.

    found = exported_first_states(serving_model_dir, transform_graph, examples, seed=0)
    found["metric"], found["clean"], found["noisy_start"], found["carried_start"]

The weights are those of the Keras file beside the SavedModel, whose graph holds no noise and takes no state. Few
sequences are enough for a number that says what a wrong start costs, so a sample is measured.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from noisy_gru.schema.errors import DataError, UserError
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.decision import Decision
from noisy_gru.trainer.experiments.first_states import measure_starts
from noisy_gru.trainer.experiments.starts import CARRIED, OWN, FirstStates, noise_name
from noisy_gru.trainer.export.artifact_files import MODEL_FILE
from noisy_gru.trainer.export.saved_model import keras_folder, load_decision, load_keras, target_scale
from noisy_gru.trainer.export.served_model import ServedModel
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.inputs.dataset import BatchConfig, SequenceData
from noisy_gru.trainer.objective import compile_model, metric_name

MOST_SEQUENCES = 256
_MOST_VALUES, _FEWEST_SEQUENCES = 500_000, 16
# A measurement is for information: what a model of an unusual form raises is the reason why there is none.
_UNMEASURABLE = (UserError, ValueError, TypeError, LookupError, tf.errors.OpError)
NOISE = noise_name(1.0)
_NAMES = {"clean": OWN, "noisy_start": NOISE, "carried_start": CARRIED}


def exported_first_states(
    serving_model_dir: str, transform_graph: str, examples: Sequence[bytes], *, seed: int
) -> dict[str, Any]:
    """Measure the task's metric from each start.

    Args:
        serving_model_dir: the SavedModel's folder in the model artifact.
        transform_graph: Transform's output of that name.
        examples: labelled tf.Examples; a sample of them is measured.
        seed: of the noise, and of whose state is carried to which sequence.

    Returns:
        JSON: `metric` (its name), `clean`, `noisy_start` and `carried_start` (null where not measured), `sequences`,
        `of` (how many there were), `stddevs` (of the noise, by layer), `seed`, `not_measured` (reason by start).
    """
    folder = keras_folder(serving_model_dir)
    if not tf.io.gfile.exists(f"{folder}/{MODEL_FILE}"):
        return _nothing("the model artifact holds no Keras file to start from another state")
    model, custom_config = load_keras(folder)
    config, trainer = custom_config.trainer.model, custom_config.trainer.training
    stddevs = tuple(layer.stddev for layer in config.layers)
    if trainer.members > 1:
        return _nothing(f"an ensemble of {trainer.members} members has no state of its own (training.members)")
    layout = Layout(custom_config.dataset)
    chosen = sample(examples)
    if not chosen:
        return _nothing("the test split holds no sequence")
    try:
        measured, refused, count = _measured(model, custom_config, layout, transform_graph, folder, chosen, seed)
    except _UNMEASURABLE as error:
        return _nothing(f"{type(error).__name__}: {error}")
    name = metric_name(layout)
    if not any(stddevs):
        refused[NOISE] = "the layers' stddev is 0, so no noise was trained with"
    values = {key: None if start in refused else measured[start][name] for key, start in _NAMES.items()}
    finite = {key: value if value is not None and math.isfinite(value) else None for key, value in values.items()}
    reasons = {key: refused[start] for key, start in _NAMES.items() if start in refused}
    return {
        "metric": name,
        **finite,
        "sequences": count,
        "of": len(examples),
        "stddevs": list(stddevs),
        "seed": seed,
        "not_measured": reasons,
    }


def sample(examples: Sequence[bytes]) -> list[bytes]:
    """Return at most ``MOST_SEQUENCES`` of the sequences, fewer of long ones, whatever order they come in."""
    ordered = sorted(examples, key=lambda example: hashlib.sha256(example).digest())[:MOST_SEQUENCES]
    kept, values = [], 0
    for example in ordered:
        values += len(example) // 4  # a float32 each
        if values > _MOST_VALUES and len(kept) >= _FEWEST_SEQUENCES:
            break
        kept.append(example)
    # Of like lengths together: so little of a batch is padding.
    return sorted(kept, key=len)


def _measured(
    model: keras.Model,
    custom_config: CustomConfig,
    layout: Layout,
    transform_graph: str,
    folder: str,
    examples: Sequence[bytes],
    seed: int,
) -> tuple[dict[str, dict[str, float]], dict[str, str], int]:
    training, config = custom_config.trainer.training, custom_config.trainer.model
    transform = tft.TFTransformOutput(transform_graph)
    served = ServedModel(model, transform, layout)
    data = SequenceData(
        [],
        transform.transformed_feature_spec(),
        layout,
        BatchConfig(batch_size=training.batch_size, seed=seed),
        "test",
        given=served.transformed(tf.constant(list(examples))),
    )
    if not len(data):
        raise DataError("no sequence of the test split has a class that train has")
    compile_model(model, training, layout, steps_per_epoch=1, epochs=1, target_scale=target_scale(served))
    starts = FirstStates(tuple(layer.stddev for layer in config.layers))
    decision = load_decision(folder)
    of_class = decision if isinstance(decision, Decision) else None  # labels are measured from 0.5 on
    measured, refused = measure_starts(model, data, config, starts, seed=seed, decision=of_class)
    return measured, refused, len(data)


def _nothing(reason: str) -> dict[str, Any]:
    """Return that nothing was measured, and why."""
    return {"metric": None, **dict.fromkeys(_NAMES), "sequences": 0, "not_measured": dict.fromkeys(_NAMES, reason)}


def to_json(found: dict[str, Any]) -> str:
    """Return the content of ``first_states.json`` in the `evaluation` artifact."""
    return json.dumps(found, indent=1, allow_nan=False) + "\n"
