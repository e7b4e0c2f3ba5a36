"""Warm start: find a base model, check that it fits, and transfer its weights.

>>> warm = WarmStart.find(fn_args.base_model, custom_config, record)  # doctest: +SKIP
>>> warm.reasons  # doctest: +SKIP
['feature temp: its centre moved from 51.2 to 81.9, by 3.65 of its scale; at most 1 is allowed (max_scale_shift)']
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.callbacks.checkpoint import BestWeights, Checkpoint
from noisy_gru.trainer.callbacks.progress import HistoryFile, report
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import DATASET, TRAINER, CustomConfig
from noisy_gru.trainer.export.artifact_files import (
    BASE_FILE,
    MODEL_FILE,
    SETTINGS_FILE,
    TRANSFORM_FILE,
    WARM_START_FILE,
)
from noisy_gru.trainer.export.saved_model import keras_folder, load_model
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.transform_record import TransformRecord
from noisy_gru.trainer.tuning import eval_objective
from noisy_gru.trainer.warm_start.base_differences import differences
from noisy_gru.trainer.warm_start.weight_transfer import transfer_weights


class Trained(NamedTuple):
    """A finished training, whose model holds its final weights."""

    model: keras.Model
    history: HistoryFile
    best: BestWeights | None
    checkpoint: Checkpoint | None

    @property
    def epochs(self) -> int:
        """Number of trained epochs."""
        return len(self.history.rows)

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights the model has, from 1."""
        return self.best.best_epoch if self.best else self.epochs

    @property
    def kept_row(self) -> dict[str, float]:
        """The history's row of that epoch."""
        return self.history.rows[self.best_epoch - 1]


def better_on_eval(done: Sequence[Trained], trainer: TrainerConfig) -> Trained:
    """Return the best training on the eval split; the first of equals."""
    if len(done) == 1:
        return done[0]
    monitor, mode = eval_objective(trainer)
    return (max if mode == "max" else min)(done, key=lambda each: each.kept_row[monitor])


@dataclass(frozen=True)
class WarmStart:
    """The base model of a training, or the reasons why it starts from new weights.

    Attributes:
        base: `version` and `fingerprint` of the base model (null if unknown), `digest` of its Keras file; empty without
            a base model.
        reasons: why the training starts from new weights; empty for a warm start.
        model: the base model, for a warm start.
        record: its Transform's scales and vocabularies.
    """

    base: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    model: keras.Model | None = None
    record: TransformRecord | None = None

    @classmethod
    def find(cls, base_model: str, custom_config: CustomConfig, fitted: TransformRecord) -> WarmStart:
        """Load a base model, and compare it with the new one.

        Args:
            base_model: the folder of its SavedModel, as in TFX's FnArgs; the Keras file is beside it.
            custom_config: of the new model, with the limits.
            fitted: Transform's scales and vocabularies for it.

        Raises:
            ConfigError: `base_model` was set by a user, and holds no Keras file.
        """
        folder = keras_folder(base_model)
        chosen = _read_base_record(f"{folder.rpartition('/')[0]}/{BASE_FILE}")
        base = {key: chosen.get(key) for key in ("version", "fingerprint")}
        if not tf.io.gfile.exists(f"{folder}/{MODEL_FILE}"):
            if not chosen:
                raise ConfigError(
                    f"base_model: {folder} holds no {MODEL_FILE} to start from. Name a model artifact of this "
                    "package's Trainer (it holds Format-Serving and Format-Keras), or leave base_model out."
                )
            return cls(base if base["version"] else {}, [chosen["note"]])
        base["digest"] = _digest(folder)
        if not tf.io.gfile.exists(f"{folder}/{TRANSFORM_FILE}"):
            return cls(base, [f"the base model has no {TRANSFORM_FILE}: an older version of the package trained it"])
        try:
            with tf.io.gfile.GFile(f"{folder}/{TRANSFORM_FILE}") as file:
                record = TransformRecord.from_json(file.read())
            model, before = load_model(folder), _read_custom_config(folder)
        # The errors of Keras, and of the configuration of another release, on unreadable files.
        except (ConfigError, OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
            return cls(base, [f"the base model can't be read ({type(error).__name__}: {' '.join(str(error).split())})"])
        reasons = differences(before, custom_config, record, fitted)
        return cls(base, reasons) if reasons else cls(base, [], model, record)

    def apply(self, model: keras.Model, fitted: TransformRecord, layout: Layout, trainer: TrainerConfig) -> None:
        """Transfer the base model's weights to a new model."""
        if self.model is None or self.record is None:
            raise ValueError(f"there is no base model to start from: {'; '.join(self.reasons)}")
        transfer_weights(self.model, model, before=self.record, after=fitted, layout=layout, config=trainer.model)

    def outcome(self, done: Sequence[Trained], kept: Trained, trainer: TrainerConfig) -> dict[str, Any]:
        """Return the outcome for the run record: `used`, `reasons` against it, `base`, `proof` if both were trained.

        Args:
            done: the trainings, the warm one first.
            kept: the better training.
            trainer: as configured.
        """
        reasons, proof = list(self.reasons), None
        if len(done) == 2:
            monitor, mode = eval_objective(trainer)
            warm, cold = (each.kept_row[monitor] for each in done)
            won = "warm" if kept is done[0] else "cold"
            proof = {"monitor": monitor, "mode": mode, "warm": warm, "cold": cold, "kept": won}
            if won == "cold":
                reasons.append(f"new weights are better: {monitor} {cold:.6g}, against {warm:.6g} after a warm start")
            report(f"warm start {warm:.6g}, new weights {cold:.6g} ({monitor}): {won} is kept", kind="proof", **proof)
        return {"used": not reasons, "reasons": reasons, "base": self.base, "proof": proof}

    def log(self) -> None:
        """Log whether the training starts warm."""
        name = f"version {self.base['version']}" if self.base.get("version") else "the base model"
        message = f"starting from new weights: {'; '.join(self.reasons)}" if self.reasons else f"starting from {name}"
        report(message, kind="warm_start", used=not self.reasons, reasons=self.reasons, base=self.base)


def save_outcome(outcome: dict[str, Any], folder: str) -> None:
    """Write `warm_start.json` beside the Keras file."""
    with tf.io.gfile.GFile(f"{folder}/{WARM_START_FILE}", "w") as file:
        file.write(json.dumps(outcome, indent=1))


def _read_base_record(path: str) -> dict[str, Any]:
    """Read the record of the step that chose the base model; empty if a user set it."""
    if not tf.io.gfile.exists(path):
        return {}
    with tf.io.gfile.GFile(path) as file:
        return json.loads(file.read())


def _read_custom_config(folder: str) -> CustomConfig:
    """Read the settings of the base model that determine its weights' meaning; others may be of another release."""
    with tf.io.gfile.GFile(f"{folder}/{SETTINGS_FILE}") as file:
        content = json.loads(file.read())
    trainer = content[TRAINER]
    members = trainer.get("training", {}).get("members", 1)
    return CustomConfig.parse(
        {DATASET: content[DATASET], TRAINER: {"model": trainer["model"], "training": {"members": members}}}
    )


def _digest(folder: str) -> str:
    digest = hashlib.sha256()
    for name in (MODEL_FILE, TRANSFORM_FILE):
        if tf.io.gfile.exists(f"{folder}/{name}"):
            with tf.io.gfile.GFile(f"{folder}/{name}", "rb") as file:
                digest.update(file.read())
    return digest.hexdigest()
