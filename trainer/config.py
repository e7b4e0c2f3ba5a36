"""The configuration that the module file reads: `model`, `training`, and the `tuner` and `warm_start` sections."""

from __future__ import annotations

from pydantic import Field, model_validator

from noisy_gru.schema.config import Section
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.training_config import TrainingConfig


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
        return self


def scaled(trainer: TrainerConfig, scale: float) -> TrainerConfig:
    """Return a configuration with every layer's stddev multiplied; `model.stddev: auto` has nothing left to choose."""
    layers = [layer.model_copy(update={"stddev": layer.stddev * scale}) for layer in trainer.model.layers]
    stddev = "layers" if trainer.model.stddev == "auto" else trainer.model.stddev
    model = trainer.model.model_copy(update={"layers": layers, "stddev": stddev})
    return trainer.model_copy(update={"model": model})
