"""One training of an experiment: train as a run does, and measure the model on the eval split.

result = train_and_measure(files, custom_config, starts=None, working_dir="…")
result["metrics"]["accuracy"], result["history"]["val_loss"]
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import tempfile
import time
from types import SimpleNamespace
from typing import Any

import keras
import tensorflow as tf

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.experiments.first_states import measure_first_states
from noisy_gru.trainer.experiments.starts import OWN, FirstStates
from noisy_gru.trainer.noise_scale import choose_scale
from noisy_gru.trainer.objective import metric_names
from noisy_gru.trainer.single_training import train_once
from noisy_gru.trainer.training_context import TrainingContext, prepare_training
from noisy_gru.trainer.transform_record import read_record
from noisy_gru.trainer.warm_start.warm_start import Trained


@dataclasses.dataclass(frozen=True)
class TransformedFiles:
    """Transform's output.

    Attributes:
        transform_graph: folder of the artifact.
        train, eval: patterns of the transformed examples.
    """

    transform_graph: str
    train: list[str]
    eval: list[str]

    @property
    def fn_args(self) -> Any:
        """What `prepare_training` and `train_once` read of TFX's FnArgs."""
        return SimpleNamespace(
            train_files=self.train, eval_files=self.eval, transform_graph_path=self.transform_graph, train_steps=None
        )


def data_key(files: TransformedFiles, custom_config: CustomConfig) -> str:
    """Return a hash of the transformed data, of the code and of the libraries: results of one key can be compared.

    Raises:
        ConfigError: the eval split is empty.
        DataError, ConfigError: as `prepare_training`.
    """
    context = prepare_training(files.fn_args, custom_config)
    _require_eval(context)
    content = json.dumps(
        [
            custom_config.dataset.model_dump(mode="json"),
            custom_config.fingerprint,
            context.train.digest,
            context.eval.digest,
            read_record(context.transform, context.layout).to_json(),
            [tf.__version__, keras.__version__],
        ],
        sort_keys=True,
    )
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def train_and_measure(
    files: TransformedFiles, custom_config: CustomConfig, starts: FirstStates | None = None
) -> dict[str, Any]:
    """Train one model, as the Trainer does from new weights and without a Tuner, and measure the model on eval.

    Args:
        files: Transform's output.
        custom_config: of the variant, with the seed; an interrupted training resumes from `working_dir`, if given.
        starts: first states to measure from, beside the model's own.

    Returns:
        JSON: `metrics` on eval (with `nll` and `ece` of a classification), `first_states` (metrics by start),
        `not_measured` (reason by start), `history` (by epoch), `epochs`, `best_epoch`, `parameters`, `seconds`,
        `noise` (the choice of `model.stddev: auto`).

    Raises:
        ConfigError, DataError: as `prepare_training`; the eval split is empty; or the loss is not finite.
    """
    begun = time.monotonic()
    trainer = custom_config.trainer
    keras.backend.clear_session()
    context = prepare_training(files.fn_args, custom_config)
    _require_eval(context)
    context = context.with_xla(trainer.training.epochs)
    fitted = read_record(context.transform, context.layout)
    chosen = None
    with tempfile.TemporaryDirectory() as folder:

        def train(own: TrainingContext, name: str) -> Trained:
            return train_once(files.fn_args, own, fitted, None, f"{folder}/{name}", member=None)

        if trainer.model.stddev == "auto":
            chosen = choose_scale(context, train)
            context = chosen.context
        trained = train(context, "own") if chosen is None else chosen.trained
    seconds = time.monotonic() - begun
    measured, refused = measure_first_states(trained.model, context, starts, seed=trainer.seed)
    rows, kept = trained.history.rows, trained.kept_row
    watched = [f"val_{name}" for name in ("loss", *metric_names(context.layout)) if f"val_{name}" in kept]
    result = {
        "metrics": measured.pop(OWN),
        "first_states": measured,
        "not_measured": refused,
        "history": {name: [row[name] for row in rows] for name in watched},
        "epochs": trained.epochs,
        "best_epoch": trained.best_epoch,
        "parameters": trained.model.count_params(),
        "seconds": round(seconds, 3),
        "noise": None if chosen is None else chosen.record,
    }
    if trained.checkpoint is not None:
        trained.checkpoint.remove()
    # A graph holds its data in memory, and is in circles with its model.
    del trained, context, chosen
    keras.backend.clear_session()
    gc.collect()
    return result


def _require_eval(context: TrainingContext) -> None:
    if not len(context.eval):
        raise ConfigError(
            "An experiment measures on the eval split, which holds no sequence. Give splits.eval (or eval_from_train) "
            "a larger share."
        )
