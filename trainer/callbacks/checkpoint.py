"""Early stopping and checkpoints that make an interrupted training resume exactly.

Keras' own BackupAndRestore keeps neither the random states nor those of early stopping, so a resumed training would
differ.
"""

# Keras' type hints give None for what a model or an operation returns.

from __future__ import annotations

import io
import json
import logging
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from noisy_gru.trainer.callbacks.progress import HistoryFile
from noisy_gru.trainer.training_config import EarlyStoppingConfig

logger = logging.getLogger(__name__)

_FORMAT = 1


class BestWeights(keras.callbacks.Callback):
    """Early stopping that restores the best epoch's weights at the end.

    Args:
        config: the monitored quantity, and the patience.
    """

    def __init__(self, config: EarlyStoppingConfig):
        super().__init__()
        self.config = config
        self.best: float | None = None
        self.best_epoch = 0
        self.wait = 0
        self.stopped = False
        self.weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        value = float((logs or {})[self.config.monitor])
        sign = 1.0 if self.config.mode == "max" else -1.0
        improved = self.best is None or sign * (value - self.best) > self.config.min_delta
        if improved and not np.isnan(value):
            self.best, self.best_epoch, self.wait = value, epoch + 1, 0
            self.weights = self.model.get_weights()
            return
        self.wait += 1
        if self.wait >= self.config.patience:
            self.stopped = True
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        if self.weights is not None:
            self.model.set_weights(self.weights)


class Checkpoint(keras.callbacks.Callback):
    """Save the whole state of a training after each epoch, in one file that is replaced atomically.

    It holds every variable of the model (random states included) and of the optimizer, early stopping and the history.
    It must be the last callback, so that the others have seen the epoch.

    Args:
        path: of the file, ending in .npz.
        history: whose rows are saved and restored.
        best: whose state is saved and restored; None without early stopping.
        variables: of other callbacks, saved and restored.
    """

    def __init__(self, path: str, *, history: HistoryFile, best: BestWeights | None, variables: Sequence[Any] = ()):
        super().__init__()
        self.others = list(variables)
        self.path = path
        self.history = history
        self.best = best

    def restore(self, model: keras.Model) -> int:
        """Restore the saved state of a compiled model.

        Returns:
            The number of finished epochs; 0 if nothing was saved.

        Raises:
            ValueError: the file belongs to another model.
        """
        if not tf.io.gfile.exists(self.path):
            return 0
        # Until it is built, an optimizer has no moments to restore.
        model.optimizer.build(model.trainable_variables)
        with tf.io.gfile.GFile(self.path, "rb") as file:
            content = io.BytesIO(file.read())
        with np.load(content, allow_pickle=False) as saved:
            state = json.loads(str(saved["state"]))
            variables = _variables(model) + self.others
            shapes = [list(variable.shape) for variable in variables]
            if state["format"] != _FORMAT or state["shapes"] != shapes:
                raise ValueError(
                    f"The checkpoint {self.path} belongs to another model: expected variables of the shapes {shapes}, "
                    f"received {state['shapes']}. Delete it to train from the start."
                )
            for index, variable in enumerate(variables):
                variable.assign(saved[f"variable_{index}"])
            self.history.rows = state["history"]
            self.history.write()
            if self.best is not None:
                self.best.best, self.best.best_epoch = state["best"], state["best_epoch"]
                self.best.wait, self.best.stopped = state["wait"], state["stopped"]
                self.best.weights = [saved[f"best_{index}"] for index in range(state["best_weights"])] or None
        return state["epochs_done"]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        variables = _variables(self.model) + self.others
        best = self.best
        weights = (best.weights if best is not None else None) or []
        state = {
            "format": _FORMAT,
            "epochs_done": epoch + 1,
            "shapes": [list(variable.shape) for variable in variables],
            "history": self.history.rows,
            "best": best.best if best else None,
            "best_epoch": best.best_epoch if best else 0,
            "wait": best.wait if best else 0,
            "stopped": best.stopped if best else False,
            "best_weights": len(weights),
        }
        arrays: dict[str, Any] = {f"variable_{i}": v.numpy() for i, v in enumerate(variables)}
        arrays.update({f"best_{i}": value for i, value in enumerate(weights)})
        # A kill while writing must leave the previous checkpoint intact.
        temporary = self.path + ".tmp"
        tf.io.gfile.makedirs(self.path.rpartition("/")[0])
        content = io.BytesIO()
        np.savez(content, state=np.array(json.dumps(state)), **arrays)
        with tf.io.gfile.GFile(temporary, "wb") as file:
            file.write(content.getvalue())
        tf.io.gfile.rename(temporary, self.path, overwrite=True)

    def remove(self) -> None:
        """Delete the checkpoint and its folder, after the training."""
        folder = self.path.rpartition("/")[0]
        if tf.io.gfile.exists(folder):
            tf.io.gfile.rmtree(folder)


def _variables(model: keras.Model) -> list[Any]:
    # `variables` holds the seeds' states, which `weights` leaves out; metrics restart with each epoch.
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    own = [variable for variable in model.variables if id(variable) not in metrics]
    optimizer: Any = model.optimizer
    return own + [variable for variable in optimizer.variables if id(variable) not in {id(v) for v in own}]
