"""The configuration that the module file reads: `model`, `training`, and the `tuner` and `warm_start` sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from noisy_gru.schema.config import Section
from noisy_gru.trainer.model_config import PRESETS, ModelConfig
from noisy_gru.trainer.training_config import TrainingConfig

# Of `training`, what may differ between trials; the others decide on batches, which all of them share, or on when
# a training ends.
_SEARCHED = (
    "clip_norm",
    "weight_decay",
    "label_smoothing",
    "loss",
    "loss_units",
    "members",
    "noise_schedule",
    "schedule",
    "weight_average",
)


class TunerConfig(Section):
    """A search with keras-tuner before the training."""

    enabled: bool = Field(default=False, description="Search first, then train with the best found.")
    max_trials: int = Field(default=20, ge=1, description="Models to try.")
    epochs: int = Field(default=20, ge=1, description="Epochs of each.")
    stddev_scales: list[float] = Field(
        default_factory=lambda: [0.0, 1.0, 3.0, 10.0], description="Factors on every layer's stddev to try."
    )
    learning_rates: list[float] = Field(
        default_factory=lambda: [3e-4, 1e-3, 3e-3], description="Learning rates to try."
    )
    space: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="Other keys of `model` and `training`, and values of each to try: `{model.segment: [null, 12, 24], "
        "model.preset: [reference, classification], training.members: [1, 3]}`.",
    )
    minutes: float | None = Field(
        default=None, gt=0, description="Begin no trial after this time; null: only `max_trials` ends the search."
    )


class WarmStartConfig(Section):
    """Training that goes on from the weights of the model published now, and when it starts anew all the same."""

    enabled: bool = Field(default=False, description="Start from the weights of the published model, if they fit.")
    prove: bool = Field(
        default=False,
        description="Train from new weights, too, with the same seed and budget, and keep whichever is better on the "
        "eval split. It costs a second training.",
    )
    learning_rate_factor: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="Factor on `training.learning_rate` after a warm start."
    )
    max_scale_shift: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="How far the centre of a numeric feature or target may have moved, in the published model's units "
        "of scale (standard deviations with `zscore`).",
    )
    max_scale_ratio: float = Field(
        default=2.0, ge=1, allow_inf_nan=False, description="By what factor its scale may have grown or shrunk."
    )
    max_new_tokens: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Part of a feature's vocabulary, or of the classes, that the published model may not know.",
    )


def whole_batch_noise(model: ModelConfig) -> str:
    """Return the setting of the noise that has no form for several devices; empty without any."""
    if model.has_carried:
        return "noise: carried"
    return f"model.stddev: {model.stddev}" if model.stddev in ("auto", "residual") else ""


def shared_batch_message(noise: str, sharing: str) -> str:
    """Say why batches of a noise can't be shared, and what to do."""
    return (
        f"{noise} is trained on one device, and {sharing} splits each batch among several; set training.strategy: "
        "none, or choose another noise"
    )


class TrainerConfig(Section):
    """Configuration of the Trainer's module file: the model and its training."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    tuner: TunerConfig = Field(default_factory=TunerConfig)
    seed: int = Field(default=0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _window_units(self) -> TrainerConfig:
        units = self.training.unit_weights
        if units and units.window and self.model.window_normalization not in ("mean_std", "mean_abs"):
            raise ValueError(
                "training.loss_units: window needs model.window_normalization: mean_std or mean_abs, received "
                f"{self.model.window_normalization}"
            )
        return self

    @model_validator(mode="after")
    def _members_and_averages(self) -> TrainerConfig:
        average = self.training.weight_average
        if average is not None and average.from_epoch is not None and average.from_epoch > self.training.epochs:
            raise ValueError(
                f"training.weight_average.from_epoch: {average.from_epoch} is after the last of training.epochs: "
                f"{self.training.epochs}; lower it"
            )
        if average is not None and average.kind == "swa" and self.model.has_convolutions:
            raise ValueError(
                "training.weight_average: {kind: swa} averages weights for which the batch normalization of "
                "model.convolutions and model.random_kernels has no statistics; use kind: ema, or leave one of them out"
            )
        single = [key for key in ("serving_step", "onnx") if getattr(self.model, key)]
        if self.training.members > 1 and single:
            raise ValueError(
                f"training.members: {self.training.members} is exported as one model of several, which "
                f"model.{single[0]}: true has no form for; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _noise_of_a_batch(self) -> TrainerConfig:
        if self.model.has_carried and self.training.batch_size == 1:
            raise ValueError(
                "noise: carried starts sequences from the states of others in their batch, and training.batch_size is "
                "1; raise it, or choose another noise"
            )
        whole = whole_batch_noise(self.model)
        if whole and self.training.strategy in ("mirrored", "multi_worker"):
            raise ValueError(shared_batch_message(whole, f"training.strategy: {self.training.strategy}"))
        if self.model.stddev == "auto" and self.tuner.enabled:
            raise ValueError(
                "model.stddev: auto and tuner.enabled: true both choose the scale of the noise; use one of them "
                "(tuner.stddev_scales)"
            )
        return self

    @model_validator(mode="after")
    def _tuner_has_a_space(self) -> TrainerConfig:
        if self.tuner.enabled and (not self.tuner.stddev_scales or not self.tuner.learning_rates):
            raise ValueError("tuner.stddev_scales and tuner.learning_rates must not be empty")
        for key, values in self.tuner.space.items():
            section, _, name = key.partition(".")
            if section == "training" and name.partition(".")[0] not in _SEARCHED:
                more = ", which has a list of its own: tuner.learning_rates" if name == "learning_rate" else ""
                raise ValueError(
                    f"tuner.space: {key} can't differ between trials{more}; expected keys of model, or of training "
                    f"{', '.join(_SEARCHED)}"
                )
            if section not in ("model", "training") or not name or name in ("learn_mean", "stddev"):
                raise ValueError(
                    f"tuner.space: {key}: expected a key of model or training, such as model.segment; model.learn_mean "
                    "and the scale of the noise (tuner.stddev_scales) are searched anyway"
                )
            if not values:
                raise ValueError(f"tuner.space: {key}: expected a list of values, received none")
            for value in values:
                try:
                    with_settings(self, {key: value})
                except ValueError as error:
                    problem = "; ".join(each["msg"] for each in error.errors()) if hasattr(error, "errors") else error
                    raise ValueError(f"tuner.space: {key}: {value!r} is not valid: {problem}") from error
        return self


def scaled(trainer: TrainerConfig, scale: float) -> TrainerConfig:
    """Return a configuration with every layer's stddev multiplied; `model.stddev: auto` has nothing left to choose."""
    layers = [layer.model_copy(update={"stddev": layer.stddev * scale}) for layer in trainer.model.layers]
    stddev = "layers" if trainer.model.stddev == "auto" else trainer.model.stddev
    model = trainer.model.model_copy(update={"layers": layers, "stddev": stddev})
    return trainer.model_copy(update={"model": model})


def value_of(trainer: TrainerConfig, key: str) -> Any:
    """Return the value of a key such as `model.layers.0.units`, as JSON; None if it is not there."""
    place: Any = trainer.model_dump(mode="json")
    for part in key.split("."):
        if isinstance(place, list):
            place = place[int(part)] if part.isdigit() and int(part) < len(place) else None
        else:
            place = place.get(part) if isinstance(place, dict) else None
    return place


def with_settings(trainer: TrainerConfig, settings: Mapping[str, Any]) -> TrainerConfig:
    """Return a configuration with other values of keys such as `model.segment` or `model.layers.0.units`.

    `model.preset` first gives all keys that any preset gives their defaults or its values; others then win.

    Raises:
        ValueError: a key or value is not valid.
    """
    if not settings:
        return trainer
    tree = trainer.model_dump(mode="json")
    # A search of searches there is not; and this is called while the space is validated.
    del tree["tuner"]
    for key in sorted(settings, key=lambda each: (each != "model.preset", each.count("."))):
        value = settings[key]
        if key == "model.preset":
            known = {name for values in PRESETS.values() for name in values}
            tree["model"] = {name: each for name, each in tree["model"].items() if name not in known}
            tree["model"]["preset"] = value
            continue
        *parts, last = key.split(".")
        place: Any = tree
        for part in parts:
            place = place[int(part)] if isinstance(place, list) and part.isdigit() else _section(place, part, key)
        place[int(last) if isinstance(place, list) and last.isdigit() else last] = value
    return TrainerConfig.model_validate(tree).model_copy(update={"tuner": trainer.tuner})


def _section(tree: Any, name: str, key: str) -> Any:
    """Return a section of a configuration, empty where it is null."""
    if not isinstance(tree, dict):
        raise ValueError(f"{key}: {name} is no section")
    if tree.get(name) is None:
        tree[name] = {}
    return tree[name]
