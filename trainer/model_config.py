"""The `model` section of the configuration: the stack of noisy GRU layers and what surrounds it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from noisy_gru.schema.config import Section


class LayerConfig(Section):
    """One noisy GRU of the stack."""

    units: int = Field(ge=1, description="Width of the hidden state.")
    stddev: float = Field(
        default=0.1,
        ge=0,
        allow_inf_nan=False,
        description="Standard deviation of the initial hidden state in training.",
    )
    noise: Literal["normal", "truncated_normal", "uniform", "carried"] = Field(
        default="normal",
        description="Its distribution. `carried`: no noise, but a wrong start: a part of the training sequences "
        "(`share`) starts from the state that another sequence of the batch ends with; of `stddev` it counts only "
        "whether it is 0, which switches it off.",
    )
    share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Of `noise: carried`: part of the training sequences that start from another one's state, the same "
        "ones in all layers of one share; null: 0.5.",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout on the layer's inputs.")
    recurrent_dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout on the recurrent state.")

    @property
    def is_carried(self) -> bool:
        """Whether training sequences start from other sequences' states."""
        return self.noise == "carried" and self.stddev > 0

    @model_validator(mode="after")
    def _share_is_of_carried(self) -> LayerConfig:
        if self.share is not None and self.noise != "carried":
            raise ValueError(
                f"share is the part of the sequences that start from another one's state, of noise: carried; received "
                f"noise: {self.noise}. Set noise: carried, or leave share out"
            )
        return self


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
    stddev: Literal["layers", "auto", "learned", "residual"] = Field(
        default="layers",
        description="Scale of the initial state's noise. `layers`: each layer's own `stddev`; `auto`: that times the "
        "best of `stddev_scales`, for which one model each is trained; `learned`: a weight of each unit, which begins "
        "with it; `residual`: of each unit, as large as the error that training finds in its first state (Zimmermann).",
    )
    stddev_scales: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default=[0.0, 1.0, 3.0, 10.0],
        min_length=2,
        description="With `stddev: auto`: factors on every layer's `stddev`. The one with the smallest sum of two eval "
        "losses is kept: from the first state that is served, and from another sequence's last one.",
    )
    missing: Literal["mask", "decay"] = Field(
        default="mask",
        description="What the stack reads where a number is missing. `mask`: the column's mean, and with the feature's "
        "`missing: mask` a channel that says so; `decay`: for features with `missing: mask` the last observed value, "
        "which fades to the mean with the time since, as the first layer's state does, at learned rates (GRU-D). The "
        "time is that of a feature with `elapsed: seconds_since_last`, or counts steps.",
    )
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

    @model_validator(mode="after")
    def _noise_has_a_scale(self) -> ModelConfig:
        if self.stddev == "layers":
            return self
        carried = [index for index, layer in enumerate(self.layers) if layer.noise == "carried"]
        if carried:
            raise ValueError(
                f"stddev: {self.stddev} sets the scale of noise, and layer {carried[0]} has none (noise: carried); "
                "leave one of them out"
            )
        without = [index for index, layer in enumerate(self.layers) if not layer.stddev]
        if without and (self.stddev != "auto" or len(without) == len(self.layers)):
            raise ValueError(
                f"stddev: {self.stddev} begins with each layer's stddev, and that of layer {without[0]} is 0; give it "
                "one above 0, such as 0.1"
            )
        return self

    @property
    def has_carried(self) -> bool:
        """Whether training sequences of a layer start from other sequences' states."""
        return any(layer.is_carried for layer in self.layers)

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
