"""The `model`, `training`, `tuner` and `warm_start` sections of the configuration."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from noisy_gru.schema.config import Section
from noisy_gru.schema.task_config import LabelText


def _on_or_off(value: Any) -> Any:
    """Map YAML's booleans back to on and off."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class LayerConfig(Section):
    """One noisy GRU of the stack."""

    units: int = Field(ge=1, description="Width of the hidden state.")
    stddev: float = Field(
        default=0.1,
        ge=0,
        allow_inf_nan=False,
        description="Standard deviation of the initial hidden state in training.",
    )
    noise: Literal["normal", "truncated_normal", "uniform"] = Field(default="normal", description="Its distribution.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout on the layer's inputs.")
    recurrent_dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout on the recurrent state.")


def _reference_stack() -> list[LayerConfig]:
    return [LayerConfig(units=64, stddev=0.1), LayerConfig(units=32, stddev=0.05), LayerConfig(units=16, stddev=0.025)]


class ConvolutionsConfig(Section):
    """Blocks of a convolution over time, batch normalization and ReLU; the head reads the last one's mean over time."""

    filters: list[Annotated[int, Field(ge=1)]] = Field(
        default=[128, 256, 128], min_length=1, description="Filters of each block, from the input up."
    )
    kernels: list[Annotated[int, Field(ge=1)]] = Field(
        default=[8, 5, 3], min_length=1, description="Steps that each block's filters span."
    )
    placement: Literal["front", "beside"] = Field(
        default="front",
        description="`front`: the stack reads the last block's outputs; `beside`: it reads the features, as without "
        "convolutions, in segments if `segment` is set.",
    )
    pool: int | None = Field(
        default=None,
        ge=1,
        description="With `front`: average each sequence to at most this many steps for the stack, by its own length; "
        "null: every step.",
    )
    momentum: float = Field(
        default=0.9,
        ge=0,
        lt=1,
        description="Part of the moving mean and variance that a batch leaves as it was.",
    )

    @model_validator(mode="after")
    def _one_kernel_for_each(self) -> ConvolutionsConfig:
        if len(self.filters) != len(self.kernels):
            raise ValueError(
                f"filters and kernels need one number for each block, received {len(self.filters)} and "
                f"{len(self.kernels)}"
            )
        if self.pool is not None and self.placement == "beside":
            raise ValueError(
                "pool shortens what the stack reads of convolutions, which is nothing with placement: beside; use "
                "model.segment there, or placement: front"
            )
        return self


class RandomKernelsConfig(Section):
    """Features of fixed random convolutions beside the stack (MiniRocket, Dempster et al. 2021)."""

    dilations: list[Annotated[int, Field(ge=1)]] = Field(
        default=[1, 2, 4, 8, 16, 32, 64],
        min_length=1,
        description="Steps between the nine taps of the kernels; 84 kernels and 924 features for each.",
    )
    seed: int = Field(default=0, ge=0, description="Of the draw of the columns that each kernel reads.")


# What a preset gives to the keys that a configuration leaves out.
PRESETS: dict[str, dict[str, Any]] = {
    "reference": {
        "layers": [{"units": 64, "stddev": 0.1}, {"units": 32, "stddev": 0.05}, {"units": 16, "stddev": 0.025}]
    },
    "small": {"layers": [{"units": 16, "stddev": 0.1}]},
    "forecasting": {
        "layers": [{"units": 128, "stddev": 0.1}],
        "segment": 24,
        "window_normalization": "last",
        "head_dropout": 0.2,
    },
    "long": {"layers": [{"units": 64, "stddev": 0.1}, {"units": 32, "stddev": 0.05}], "segment": 24},
    "classification": {
        "layers": [{"units": 64, "stddev": 0.1}, {"units": 32, "stddev": 0.05}],
        "convolutions": {"filters": [64, 128, 64], "kernels": [8, 5, 3], "placement": "front", "pool": 32},
        "random_kernels": {},
    },
}


class ModelConfig(Section):
    """The stack of noisy GRU layers and what surrounds it."""

    preset: Literal["reference", "small", "forecasting", "long", "classification"] | None = Field(
        default=None,
        description="Defaults of the other keys; a key that is given wins. `reference`: the stack of 64/32/16; "
        "`small`: one layer of 16; `forecasting`: segments of 24 steps, relative to the last value; `long`: segments "
        "of 24 steps; `classification`: convolutions in front of the stack, random kernels beside it.",
    )
    layers: list[LayerConfig] = Field(
        default_factory=_reference_stack,
        min_length=1,
        description="The stack, from the input up; the default is the reference 64/32/16 with stddev 0.1/0.05/0.025.",
    )
    bidirectional: bool = Field(default=False, description="Read each sequence in both directions (units in each).")
    learn_mean: bool = Field(default=False, description="Learn the mean of the initial state; else it is zero.")
    pooling: Literal["last", "mean", "max", "attention"] = Field(
        default="last",
        description="What the head sees of the top layer: its last state, or the mean, the maximum, or a mean with "
        "learned weights (attention) over the steps.",
    )
    convolutions: ConvolutionsConfig | None = Field(
        default=None,
        description="Classification and regression: convolutions in front of the stack or beside it; {} takes the "
        "defaults. null: none.",
    )
    random_kernels: RandomKernelsConfig | None = Field(
        default=None,
        description="Classification and regression: features of fixed random convolutions of the numeric columns, "
        "which the head reads beside the rest; {} takes the defaults. null: none.",
    )
    hidden: list[int] = Field(default_factory=list, description="Widths of dense ReLU layers before the output.")
    head_dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before the output layer.")
    target: Literal["level", "difference"] = Field(
        default="level",
        description="Forecasting: predict the value itself, or its difference from the last value read.",
    )
    future: Literal["auto", "steps", "targets"] = Field(
        default="auto",
        description="Forecasting: how features that are known in advance are read. `steps`: the GRUs go on through the "
        "steps up to the furthest horizon, and predict from the state after the last one. `targets`: they end with the "
        "past, and each horizon is predicted from their state and the values at its own target's time. `auto`: "
        "`targets` where only calendars are known in advance, else `steps`. With `segment` each decoded segment reads "
        "its own.",
    )
    segment: int | None = Field(
        default=None,
        ge=2,
        description="Read segments of this many steps in place of single steps (24 for hourly data with days); a "
        "forecast is decoded in segments, too, all at once. null: step by step. The width of a segment's embedding is "
        "that of the first layer.",
    )
    channels: Literal["joint", "shared"] = Field(
        default="joint",
        description="With `segment`: `joint`, one sequence of all columns; `shared`, the same stack reads each "
        "target as a sequence of its own, with an embedding of which it is and all columns that are no targets.",
    )
    window_normalization: Literal["none", "last", "mean_std", "mean_abs"] = Field(
        default="none",
        description="Forecasting: what each window is relative to, in and out: its last value; its mean and standard "
        "deviation; or its last season's mean and its mean magnitude (for series of different sizes).",
    )
    linear_path: bool = Field(
        default=False,
        description="Forecasting: add a linear function of each target's own window to the stack's forecast.",
    )
    fused: bool = Field(
        default=True,
        description="Run the loop over the steps in fewer, larger products, with a gradient of its own; false: Keras' "
        "loop. The answers are the same to rounding.",
    )
    serving_step: bool = Field(
        default=False,
        description="Export the signature `serving_step`, too: new steps and the state of the call before, to answers "
        "and the new state, so that a stream sends each event once. Needs `pooling: last`, one direction, and no "
        "feature that is known in advance.",
    )
    onnx: bool = Field(
        default=False,
        description="Write the model as ONNX, too, to `assets.extra/onnx/model.onnx` of the version, for runtimes "
        "without TensorFlow. Needs numeric features alone, none of them known in advance, and `target: level`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, given: Any) -> Any:
        name = given.get("preset") if isinstance(given, dict) else None
        return {**PRESETS[name], **given} if isinstance(name, str) and name in PRESETS else given

    @property
    def has_convolutions(self) -> bool:
        """Whether there are convolutions, trained or fixed."""
        return self.convolutions is not None or self.random_kernels is not None

    @property
    def is_relative(self) -> bool:
        """Whether the forecast is made relative to its window, or with a linear function of it."""
        return self.window_normalization != "none" or self.linear_path

    @property
    def reads_past(self) -> bool:
        """Whether layers need the number of steps of the past."""
        return self.segment is not None or self.is_relative


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
    loss_units: Literal["target", "window"] = Field(
        default="target",
        description="Units of the forecast's errors in the loss: `target`, the target's scale; `window`, that of each "
        "window (`model.window_normalization: mean_std` or `mean_abs`), so that small and large series count alike.",
    )
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


class TrainerConfig(Section):
    """Configuration of the Trainer's module file: the model and its training."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    tuner: TunerConfig = Field(default_factory=TunerConfig)
    seed: int = Field(default=0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _window_units(self) -> TrainerConfig:
        if self.training.loss_units == "window" and self.model.window_normalization not in ("mean_std", "mean_abs"):
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
    def _tuner_has_a_space(self) -> TrainerConfig:
        if self.tuner.enabled and (not self.tuner.stddev_scales or not self.tuner.learning_rates):
            raise ValueError("tuner.stddev_scales and tuner.learning_rates must not be empty")
        return self
