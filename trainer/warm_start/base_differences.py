"""Reasons against a warm start: every difference from the base model beyond a limit, one sentence each."""

from __future__ import annotations

from typing import Any

from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, FeatureConfig, ForecastingConfig
from noisy_gru.schema.task_config import RegressionConfig, is_multi_label, is_per_step
from noisy_gru.trainer.config import WarmStartConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.model_checks import reads_targets
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.transform_record import Scale, TransformRecord

_VALUES_SHOWN = 3


def differences(
    before: CustomConfig, after: CustomConfig, fitted_before: TransformRecord, fitted_after: TransformRecord
) -> list[str]:
    """Return the reasons against starting from a base model's weights; empty if there are none.

    Args:
        before: of the base model.
        after: of the new model, with the limits.
        fitted_before: Transform's scales and vocabularies for the base model.
        fitted_after: those for the new model.
    """
    reasons = [
        *_not_transferable(after.trainer.model, after.dataset),
        *_logarithms(after.dataset),
        *_members(before.trainer.training.members, after.trainer.training.members),
        *_changed(_architecture(before.trainer.model), _architecture(after.trainer.model)),
        *_changed(_future(before), _future(after)),
        *_changed(_task(before.dataset), _task(after.dataset)),
        *_features(before.dataset, after.dataset),
    ]
    # With other features or another task the rest can't be compared.
    return reasons or [
        *_scales(fitted_before, fitted_after, after.warm_start),
        *_new_values(fitted_before, fitted_after, after),
    ]


def _not_transferable(model: ModelConfig, dataset: DatasetConfig) -> list[str]:
    """The settings whose weights can't be brought to newly fitted scales."""
    return [
        f"{key} is set, whose weights are not transferred"
        for key, used in (
            ("model.segment", model.segment is not None),
            ("model.convolutions", model.convolutions is not None),
            ("model.random_kernels", model.random_kernels is not None),
            ("model.window_normalization", model.window_normalization != "none"),
            ("model.linear_path", model.linear_path),
            ("model.missing: decay", model.missing == "decay"),
            ("task.quantiles", getattr(dataset.task, "quantiles", None) is not None),
        )
        if used
    ]


def _logarithms(dataset: DatasetConfig) -> list[str]:
    layout = Layout(dataset)
    logged = [name for name, is_logged in zip(layout.targets, layout.logged_targets, strict=False) if is_logged]
    return [f"the target {name} has scale: log1p, whose weights are not transferred" for name in logged]


def _members(before: int, after: int) -> list[str]:
    if max(before, after) == 1:
        return []
    return [f"training.members was {before}, is {after}; the weights of several members are not transferred"]


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [f"{key} was {before[key]}, is {after[key]}" for key in before if key in after and before[key] != after[key]]


def _architecture(model: ModelConfig) -> dict[str, Any]:
    """The settings that determine the weights' shapes and meaning."""
    return {
        "model.layers' units": [layer.units for layer in model.layers],
        "model.bidirectional": model.bidirectional,
        "model.learn_mean": model.learn_mean,
        # These two have weights of their own.
        "model.stddev": model.stddev if model.stddev in ("learned", "residual") else "layers",
        "model.pooling": model.pooling,
        "model.hidden": model.hidden,
        "model.target": model.target,
    }


def _future(custom_config: CustomConfig) -> dict[str, Any]:
    """How features are read that are known in advance; without any, a change of the features says it all."""
    model, dataset = custom_config.trainer.model, custom_config.dataset
    if not any(feature.known_in_advance for feature in dataset.data.features):
        return {}
    return {"model.future": "targets" if reads_targets(model, dataset) else "steps"}


def _task(dataset: DatasetConfig) -> dict[str, Any]:
    task = dataset.task
    is_forecast = isinstance(task, ForecastingConfig)
    return {
        "task.kind": task.kind,
        "task.label": getattr(task, "label", None) or None,
        "task.per_step": is_per_step(task),
        "task.labels": task.labels if is_multi_label(task) else None,
        "task.targets": (task.targets or None) if isinstance(task, RegressionConfig | ForecastingConfig) else None,
        "task.horizons": task.horizons if is_forecast else None,
    }


def _features(before: DatasetConfig, after: DatasetConfig) -> list[str]:
    old = {feature.name: _kind(feature, before) for feature in before.data.features}
    new = {feature.name: _kind(feature, after) for feature in after.data.features}
    reasons = [f"feature {name} is new" for name in new if name not in old]
    reasons += [f"feature {name} is removed" for name in old if name not in new]
    for name in old:
        if name in new:
            reasons += [f"feature {name}: {change}" for change in _changed(old[name], new[name])]
    if not reasons and list(old) != list(new):
        reasons.append(f"the features are in another order: they were {', '.join(old)}, and are {', '.join(new)}")
    return reasons


def _kind(feature: FeatureConfig, dataset: DatasetConfig) -> dict[str, Any]:
    numeric = feature.kind != "categorical"
    time = dataset.data.time
    return {
        "kind": feature.kind,
        "scale": feature.scale if numeric else None,
        "offset": feature.offset if numeric else None,
        "missing": feature.missing if numeric else None,
        "embedding_dim": None if numeric else feature.embedding_dim,
        "known_in_advance": feature.known_in_advance,
        "calendar": feature.calendar,
        "data.time.timezone": time.timezone if time is not None and feature.calendar is not None else None,
        "elapsed": feature.elapsed,
        "column": feature.column,
        "static": feature.static,
    }


def _scales(before: TransformRecord, after: TransformRecord, limits: WarmStartConfig) -> list[str]:
    reasons = []
    for what, old, new in (("feature", before.numeric, after.numeric), ("target", before.targets, after.targets)):
        for name in new:
            reasons += [f"{what} {name}: {change}" for change in _moved(old[name], new[name], limits)]
    return reasons


def _moved(old: Scale, new: Scale, limits: WarmStartConfig) -> list[str]:
    reasons = []
    shift = abs(new.centre - old.centre) / old.scale
    if shift > limits.max_scale_shift:
        reasons.append(
            f"its centre moved from {old.centre:.4g} to {new.centre:.4g}, by {shift:.3g} of its scale; at most "
            f"{limits.max_scale_shift:g} is allowed (max_scale_shift)"
        )
    ratio = max(new.scale / old.scale, old.scale / new.scale)
    if ratio > limits.max_scale_ratio:
        reasons.append(
            f"its scale went from {old.scale:.4g} to {new.scale:.4g}, by a factor of {ratio:.3g}; at most "
            f"{limits.max_scale_ratio:g} is allowed (max_scale_ratio)"
        )
    return reasons


def _new_values(before: TransformRecord, after: TransformRecord, custom_config: CustomConfig) -> list[str]:
    pairs = [
        (f"{len(values)} values of {name}", before.vocabularies[name], values)
        for name, values in after.vocabularies.items()
    ]
    if isinstance(custom_config.dataset.task, ClassificationConfig):
        pairs.append((f"{len(after.labels)} classes", before.labels, after.labels))
    limit = custom_config.warm_start.max_new_tokens
    reasons = []
    for what, old, values in pairs:
        new = sorted(set(values).difference(old))
        if len(new) > limit * len(values):
            shown = ", ".join(new[:_VALUES_SHOWN]) + (", …" if len(new) > _VALUES_SHOWN else "")
            reasons.append(f"{len(new)} of {what} are new ({shown}); at most {limit:.0%} may be (max_new_tokens)")
    return reasons
