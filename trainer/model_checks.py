"""Which models fit which columns, and can be served as configured."""

from __future__ import annotations

from noisy_gru.schema.config import DatasetConfig, ForecastingConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.task_config import is_multi_label, is_per_step
from noisy_gru.trainer.model_config import ModelConfig


def model_problems(config: ModelConfig, dataset: DatasetConfig) -> list[str]:
    """Return messages about model settings that the columns, `serving_step` or `onnx` don't allow; empty if none."""
    return [
        *_difference_problems(config, dataset),
        *_window_problems(config, dataset),
        *_logarithm_problems(config, dataset),
        *_calibration_problems(config, dataset),
        *_missing_problems(config, dataset),
        *_convolution_problems(config, dataset),
        *_per_step_problems(config, dataset),
        *_step_problems(config, dataset),
        *_onnx_problems(config, dataset),
    ]


def _missing_problems(config: ModelConfig, dataset: DatasetConfig) -> list[str]:
    """Return messages about `model.missing: decay` beside what it doesn't fit."""
    if config.missing != "decay":
        return []
    beside = [
        ("model.bidirectional: true", config.bidirectional),
        ("model.fused: false", not config.fused),
        (_kind_of_convolutions(config), config.has_convolutions),
        (_reader_of_windows(config), config.reads_past),
        ("model.onnx: true", config.onnx),
        ("recurrent_dropout of the first layer", config.layers[0].recurrent_dropout > 0),
    ]
    problems = [
        f"model.missing: decay has no form for {name} yet; leave one of them out" for name, used in beside if used
    ]
    features = dataset.data.numeric
    if not any(feature.missing == "mask" for feature in features):
        problems.append(
            "model.missing: decay fades features with missing: mask, and there is none; give it to those that may be "
            "missing, or set model.missing: mask"
        )
    known = [feature.name for feature in dataset.data.features if feature.known_in_advance]
    if known and not reads_targets(config, dataset):
        problems.append(
            f"model.missing: decay ends with the past, and {', '.join(known)} (known_in_advance) is read up to the "
            "horizon; set model.future: targets"
        )
    return problems


def reads_targets(config: ModelConfig, dataset: DatasetConfig) -> bool:
    """Return whether each horizon reads what is known in advance at its own target's time (``model.future``)."""
    known = [feature for feature in dataset.data.features if feature.known_in_advance]
    if not known or not isinstance(dataset.task, ForecastingConfig):
        return False
    return config.future == "targets" or (
        config.future == "auto" and all(feature.calendar is not None for feature in known)
    )


def check_model_config(config: ModelConfig, dataset: DatasetConfig) -> None:
    """Check that the data set's columns fit the model, and that it can be served as configured.

    Raises:
        ConfigError: `model.target: difference` without forecasting of observed targets; `model.serving_step` with what
            needs the whole sequence at once; `model.onnx` with features that the file can't express.
    """
    problems = model_problems(config, dataset)
    if problems:
        raise ConfigError("\n".join(problems))


def _calibration_problems(config: ModelConfig, dataset: DatasetConfig) -> list[str]:
    """Return messages about `calibration.scale: window` where the window of a target is not at hand."""
    calibration = getattr(dataset.task, "calibration", None)
    if calibration is None or calibration.scale != "window":
        return []
    key = "task.calibration.scale: window"
    if not isinstance(dataset.task, ForecastingConfig):
        return [f"{key} needs task.kind: forecasting, received {dataset.task.kind}; leave it out"]
    problems = [
        f"{key} reads the whole window, which model.{name}: true has no form for; leave one of them out"
        for name in ("serving_step", "onnx")
        if getattr(config, name)
    ]
    scales = {feature.name: feature.scale for feature in dataset.data.numeric}
    if unread := [name for name in dataset.task.targets if name not in scales]:
        problems.append(
            f"{key} is the spread of the target's own past, but {', '.join(unread)} is not a numeric feature; add it "
            "to data.features, or leave the scale out"
        )
    if logged := [name for name in dataset.task.targets if scales.get(name) == "log1p"]:
        problems.append(
            f"{key} is a spread of amounts, and {', '.join(logged)} is read as logarithms (scale: log1p); choose "
            "another scale of the feature, or leave this one out"
        )
    return problems


def _difference_problems(config: ModelConfig, dataset: DatasetConfig) -> list[str]:
    if config.target != "difference":
        return []
    task = dataset.task
    if not isinstance(task, ForecastingConfig):
        return [f"model.target: difference needs task.kind: forecasting, received {task.kind}; use model.target: level"]
    inputs = {feature.name for feature in dataset.data.numeric}
    unread = ", ".join(name for name in task.targets if name not in inputs)
    if not unread:
        return []
    return [
        f"model.target: difference adds the last value read of each target, but {unread} is not a numeric feature; "
        "add it to data.features or use model.target: level"
    ]


def _logarithm_problems(config: ModelConfig, dataset: DatasetConfig) -> list[str]:
    """Return messages about features and targets with `scale: log1p`."""
    logged = [feature.name for feature in dataset.data.features if feature.scale == "log1p"]
    problems = []
    if logged and config.onnx:
        problems.append(
            f"model.onnx: true has no form for scale: log1p of {', '.join(logged)} yet; choose another scale, or set "
            "model.onnx: false"
        )
    task = dataset.task
    targets = [name for name in logged if name in task.targets] if isinstance(task, ForecastingConfig) else []
    if targets and config.target == "difference":
        problems.append(
            f"model.target: difference adds the last value, but the logarithm of {', '.join(targets)} (scale: log1p) "
            "is forecast; use model.target: level, and model.window_normalization: last for differences of logarithms"
        )
    return problems


def _window_problems(config: ModelConfig, dataset: DatasetConfig) -> list[str]:
    """Return messages about segments and forecasts relative to their window."""
    task = dataset.task
    given = [
        f"model.{key}: {value}"
        for key, value, used in (
            ("window_normalization", config.window_normalization, config.window_normalization != "none"),
            ("linear_path", "true", config.linear_path),
            ("channels", "shared", config.channels == "shared"),
        )
        if used
    ]
    if not isinstance(task, ForecastingConfig):
        return [f"{each} needs task.kind: forecasting, received {task.kind}; leave it out" for each in given]
    problems = []
    inputs = {feature.name for feature in dataset.data.numeric}
    if given and (unread := ", ".join(name for name in task.targets if name not in inputs)):
        problems.append(
            f"{', '.join(given)}: reads the past of each target, but {unread} is not a numeric feature; add it to "
            f"data.features, or leave {'these' if len(given) > 1 else 'this'} out"
        )
    if config.channels == "shared" and config.segment is None:
        problems.append("model.channels: shared needs model.segment, the steps of a segment (24 for hours of days)")
    if config.window_normalization != "none" and config.target == "difference":
        problems.append(
            "model.target: difference and model.window_normalization both make the forecast relative; use one of them "
            "(window_normalization: last is a difference from the last value, too, and normalizes the inputs as well)"
        )
    if config.segment is not None:
        if config.bidirectional:
            problems.append(
                "model.segment decodes a forecast from the states at the window's end, but model.bidirectional: true "
                "reads from its start, too; set one of them to null or false"
            )
        if config.pooling != "last":
            problems.append(f"model.segment needs model.pooling: last for a forecast, received {config.pooling}")
    return problems


def _convolution_problems(config: ModelConfig, dataset: DatasetConfig) -> list[str]:
    """Return messages about convolutions beside what they don't fit."""
    problems = []
    name = _kind_of_convolutions(config)
    if name and isinstance(dataset.task, ForecastingConfig):
        problems.append(
            f"{name} needs task.kind: classification or regression, received forecasting; leave it out and use "
            "model.segment"
        )
    elif config.segment is not None and config.convolutions is not None and config.convolutions.placement == "front":
        problems.append(
            "model.segment and model.convolutions with placement: front both shorten what the stack reads; use "
            "model.convolutions.pool in place of segment, or placement: beside"
        )
    if config.random_kernels is not None and not any(not feature.static for feature in dataset.data.numeric):
        problems.append(
            "model.random_kernels reads numbers along the sequence, and data.features has none; leave it out, or add a "
            "numeric feature that isn't static"
        )
    return problems


def _per_step_problems(config: ModelConfig, dataset: DatasetConfig) -> list[str]:
    """Return messages about settings that give one answer for a sequence, where each step has a label."""
    if not is_per_step(dataset.task):
        return []
    problems = []
    if config.pooling != "last":
        problems.append(
            f"task.per_step: true answers at each step, and model.pooling: {config.pooling} is taken over all steps; "
            "leave pooling out"
        )
    for key, is_set in (
        ("model.segment", config.segment is not None),
        ("model.convolutions", config.convolutions is not None),
        ("model.random_kernels", config.random_kernels is not None),
        ("model.onnx: true", config.onnx),
    ):
        if is_set:
            problems.append(f"{key} has no form for an answer at each step (task.per_step: true); leave it out")
    return problems


def _kind_of_convolutions(config: ModelConfig) -> str:
    if config.convolutions is not None:
        return "model.convolutions"
    return "model.random_kernels" if config.random_kernels is not None else ""


def _step_problems(config: ModelConfig, dataset: DatasetConfig) -> list[str]:
    """Return messages about settings that need more than the steps so far and a state of fixed size."""
    if not config.serving_step:
        return []
    problems = []
    if name := _kind_of_convolutions(config):
        problems.append(
            f"model.serving_step: true answers after each step, but a step of {name} reads steps after it, and their "
            "mean is taken over the whole sequence; leave one of them out"
        )
    if config.reads_past:
        problems.append(
            f"model.serving_step: true takes any number of new steps, but {_reader_of_windows(config)} needs the whole "
            "window at once; leave one of them out"
        )
    if config.bidirectional:
        problems.append(
            "model.serving_step: true reads steps as they come, but model.bidirectional: true reads each sequence from "
            "its end, too; set one of them to false"
        )
    if config.pooling != "last":
        problems.append(
            f"model.serving_step: true needs model.pooling: last, received {config.pooling}, which is taken over all "
            "steps of a sequence; a stream has no end. Set model.pooling: last or model.serving_step: false"
        )
    known = ", ".join(feature.name for feature in dataset.data.features if feature.known_in_advance)
    if known:
        problems.append(
            f"model.serving_step: true sends each step once, but {known} (known_in_advance) is read up to the horizon, "
            "which moves with every step; leave known_in_advance out, or set model.serving_step: false"
        )
    since = ", ".join(each.name for each in dataset.data.features if each.elapsed == "steps_since_observed")
    if since:
        problems.append(
            f"model.serving_step: true sends each step once, but {since} (elapsed: steps_since_observed) counts back "
            "over steps that were sent before; leave it out, or set model.serving_step: false"
        )
    return problems


def _reader_of_windows(config: ModelConfig) -> str:
    if config.segment is not None:
        return "model.segment"
    return "model.linear_path" if config.linear_path else "model.window_normalization"


def _onnx_problems(config: ModelConfig, dataset: DatasetConfig) -> list[str]:
    """Return messages about settings that the ONNX file can't express."""
    if not config.onnx:
        return []
    problems = []
    if is_multi_label(dataset.task):
        problems.append("model.onnx: true has no form for several labels (task.labels) yet; leave it out")
    if config.reads_past:
        problems.append(f"model.onnx: true has no form for {_reader_of_windows(config)} yet; leave one of them out")
    if name := _kind_of_convolutions(config):
        problems.append(f"model.onnx: true has no form for {name} yet; leave one of them out")
    if names := ", ".join(feature.name for feature in dataset.data.features if feature.kind == "categorical"):
        problems.append(
            f"model.onnx: true takes numbers alone, but {names} is categorical; leave it out of data.features (of a "
            "calendar, leave out encoding: category), or set model.onnx: false"
        )
    if names := ", ".join(feature.name for feature in dataset.data.features if feature.known_in_advance):
        problems.append(
            f"model.onnx: true reads the past alone, but {names} is known_in_advance; leave that out, or set "
            "model.onnx: false"
        )
    if config.target == "difference":
        problems.append(
            "model.onnx: true needs model.target: level, received difference, which adds the last value read"
        )
    return problems
