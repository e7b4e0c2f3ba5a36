"""The `training` section of the configuration: loss, optimizer, schedules, early stopping, averages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from noisy_gru.schema.config import Section
from noisy_gru.schema.task_config import LabelText


def _on_or_off(value: Any) -> Any:
    """Map YAML's booleans back to on and off."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class LearningRateScheduleConfig(Section):
    """Learning rate over the training."""

    kind: Literal["constant", "cosine", "exponential", "step"] = Field(
        default="constant",
        description="Shape after the warm-up; `step` multiplies the rate by `factor` after each epoch.",
    )
    warmup_epochs: float = Field(default=0.0, ge=0, description="Epochs of linear rise from zero.")
    hold_epochs: float = Field(default=0.0, ge=0, description="Epochs at the peak, before the rate falls.")
    factor: float = Field(default=0.8, gt=0, le=1, description="Of `step`.")
    final_fraction: float = Field(
        default=0.01, ge=0, le=1, description="Learning rate at the last epoch, as a part of `learning_rate`."
    )


class EarlyStoppingConfig(Section):
    """When to stop before the last epoch. The best epoch's weights are kept."""

    monitor: str = Field(default="val_loss", description="Quantity to watch.")
    mode: Literal["min", "max"] = Field(default="min", description="Whether less or more of it is better.")
    patience: int = Field(default=10, ge=1, description="Epochs without an improvement before training stops.")
    min_delta: float = Field(default=0.0, ge=0, description="Smallest change that counts as an improvement.")


class WeightAverageConfig(Section):
    """Averaged weights, which are evaluated and exported in place of the last ones."""

    kind: Literal["ema", "swa"] = Field(
        description="`ema`: exponential moving average over the steps; `swa`: mean over the epochs from `from_epoch`."
    )
    decay: float = Field(
        default=0.999, gt=0, lt=1, description="Of `ema`: part of the average that stays at each step."
    )
    from_epoch: int | None = Field(default=None, ge=1, description="Of `swa`: first epoch that counts.")

    @model_validator(mode="after")
    def _first_epoch(self) -> WeightAverageConfig:
        if (self.kind == "swa") != (self.from_epoch is not None):
            needed = "needs from_epoch, the first epoch that counts" if self.kind == "swa" else "has no from_epoch"
            raise ValueError(f"kind: {self.kind} {needed}; received from_epoch: {self.from_epoch}")
        return self


class NoiseScheduleConfig(Section):
    """Annealing of every layer's stddev, as a factor."""

    kind: Literal["constant", "linear", "cosine"] = Field(default="constant", description="Shape over the epochs.")
    final_factor: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="Factor at the last epoch.")


class FocalConfig(Section):
    """Focal loss."""

    gamma: float = Field(
        default=2.0,
        ge=0,
        allow_inf_nan=False,
        description="How much less a sure answer counts: the loss of a true class of probability p is "
        "-(1 - p)^gamma log p; 0 is cross-entropy.",
    )


class FocalLossConfig(Section):
    """Focal loss (Lin et al. 2017): what is learned already counts less, so that rare and hard sequences count more."""

    focal: FocalConfig = Field(description="Its parameter; {} takes the default.")


class LossUnitsConfig(Section):
    """Errors of the loss in several units at once, each with a weight.

    An error counts as `window` errors in the window's scale, plus `season` in its seasonal differences, plus `value` in
    the value itself: with `loss: mae` the loss is the weighted sum of three mean absolute errors.
    """

    window: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="Weight of errors in units of the window's scale (`model.window_normalization: mean_std` or "
        "`mean_abs`; of the latter they are parts of the mean magnitude, much as in sMAPE).",
    )
    season: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="Weight of errors in units of the mean absolute difference over `task.season_length` in the "
        "window, as in MASE.",
    )
    value: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="Weight of errors as parts of the mean magnitude of target and forecast, as in sMAPE.",
    )

    @model_validator(mode="after")
    def _weighs_something(self) -> LossUnitsConfig:
        if not self.window and not self.season and not self.value:
            raise ValueError("window, season and value are all 0, and no error would count; give one a weight")
        return self


ClassWeights = Literal["balanced"] | dict[LabelText, Annotated[float, Field(gt=0, allow_inf_nan=False)]]


class TrainingConfig(Section):
    """The training loop: Adam with clipping, a schedule, early stopping."""

    epochs: int = Field(default=50, ge=1, description="Most passes over the train split.")
    batch_size: int = Field(default=32, ge=1, description="Sequences in a step.")
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False, description="Peak learning rate of Adam.")
    schedule: LearningRateScheduleConfig = Field(
        default_factory=lambda: LearningRateScheduleConfig(), description="Learning rate schedule."
    )
    clip_norm: float | None = Field(default=1.0, gt=0, description="Largest global norm of the gradient.")
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled weight decay (AdamW).")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Classification only.")
    loss: Literal["auto", "mse", "mae", "huber"] | FocalLossConfig = Field(
        default="auto",
        description="Regression and forecasting, on the scaled target; `auto` is mse (huber for forecasting). A "
        "classification has cross-entropy, or `{focal: {gamma: 2}}`.",
    )
    class_weights: ClassWeights | None = Field(
        default=None,
        description="Classification only: factors on the loss, in train and eval. `balanced`: sequences / (classes * "
        "sequences of the class), of train; or a factor for each class, 1 for those left out, as `{failure: 10}`.",
    )
    sampling: Literal["natural", "balanced"] = Field(
        default="natural",
        description="Classification only. `natural`: an epoch is every sequence of train once; `balanced`: as many of "
        "each class, so that those of a rare class come several times. Needs train in memory (`cache_gigabytes`).",
    )
    windows_per_epoch: int | None = Field(
        default=None,
        ge=1,
        description="Sequences (windows) in an epoch, drawn without replacement until all have come: evaluation and "
        "early stopping then come after as much training with few long series as with many short ones. Needs train in "
        "memory (`cache_gigabytes`). null: all of train.",
    )
    loss_units: Literal["target", "window"] | LossUnitsConfig = Field(
        default="target",
        description="Units of the forecast's errors in the loss: `target`, the target's scale; `window`, that of each "
        "window (`model.window_normalization: mean_std` or `mean_abs`), so that small and large series count alike; "
        "or weights of several units, `{value: 1, season: 0.1}`.",
    )

    @model_validator(mode="after")
    def _one_kind_of_sampling(self) -> TrainingConfig:
        if self.windows_per_epoch is not None and self.sampling == "balanced":
            raise ValueError(
                "windows_per_epoch and sampling: balanced both choose the sequences of an epoch; use one of them"
            )
        return self

    @property
    def unit_weights(self) -> LossUnitsConfig | None:
        """Weights of the units of each window; None where errors are in the target's scale."""
        if isinstance(self.loss_units, LossUnitsConfig):
            return self.loss_units
        return LossUnitsConfig(window=1) if self.loss_units == "window" else None

    early_stopping: EarlyStoppingConfig | None = Field(
        default_factory=lambda: EarlyStoppingConfig(),
        description="null trains all epochs; it needs sequences in the eval split.",
    )
    weight_average: WeightAverageConfig | None = Field(
        default=None,
        description="Evaluate, keep and export averaged weights; it costs nothing in serving. null: the last ones.",
    )
    members: int = Field(
        default=1,
        ge=1,
        description="Models of other seeds, trained one after the other and exported as one that answers with the mean "
        "of their predictions or probabilities. Training and serving cost as many times as much.",
    )
    noise_schedule: NoiseScheduleConfig = Field(
        default_factory=lambda: NoiseScheduleConfig(), description="Annealing of the initial state's stddev."
    )
    bucket_by_length: bool = Field(
        default=False, description="Batch sequences of like length, for less padding; batches are then less random."
    )
    cache_gigabytes: float = Field(
        default=4.0,
        ge=0,
        allow_inf_nan=False,
        description="Transformed data up to this size is kept in memory; more is re-read.",
    )
    xla: Annotated[Literal["auto", "on", "off"], BeforeValidator(_on_or_off)] = Field(
        default="auto",
        description="Compile the training step with XLA on CPUs: `auto`, where the training is long enough to make up "
        "for the compilation, by a rule on shapes and steps; `on`, wherever it can be done. Batches then have few "
        "shapes. The model is the same to rounding, but for dropout, which XLA draws differently.",
    )
    steps_per_execution: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto", description="Steps in one call of the training function; `auto`: up to 32."
    )
    strategy: Literal["auto", "none", "mirrored", "multi_worker"] = Field(
        default="auto",
        description="What shares each batch: `mirrored`, the GPUs of this machine; `multi_worker`, the processes named "
        "in TF_CONFIG, with their GPUs; `none`, nothing. `auto` is `multi_worker` where TF_CONFIG names several, "
        "`mirrored` where there are several GPUs, else `none`. The model is the same to rounding (docs/scale.md).",
    )
