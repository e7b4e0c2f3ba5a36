"""Variants of a configuration: overrides of its keys, or scales and kinds of the noise.

>>> [each.name for each in compared_variants(path, base, ["model.layers[0].units=32,64"], [])]  # doctest: +SKIP
['configured', 'model.layers.0.units=32']
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from noisy_gru.pipeline.config.checks import check_config
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.schema.config import ClassificationConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.task_config import is_multi_label
from noisy_gru.trainer.config import TrainerConfig, scaled

CONFIGURED = "configured"
KINDS = ("carried", "learned", "residual")
_SECTIONS = ("model", "training")
_MEMBERS = "training.members"
_INDEX = re.compile(r"\[(\d+)\]")


@dataclass(frozen=True)
class Variant:
    """A variant of a configuration.

    Attributes:
        name: for tables; `configured` for the configuration as it is.
        trainer: of the variant.
        values: what differs, by key.
    """

    name: str
    trainer: TrainerConfig
    values: dict[str, Any] = field(default_factory=dict)


def require_eval_split(config: PipelineConfig, command: str) -> None:
    """Raise ConfigError if a configuration has no eval split."""
    if config.dataset.has_eval_split:
        return
    name = "splits.eval_from_train" if hasattr(config.splits, "eval_from_train") else "splits.eval"
    raise ConfigError(
        f"noisy-gru {command} measures on the eval split, and this configuration has none; the test split is never "
        f"read for a choice. Take a part of train for it: --set {name}=0.3"
    )


def known_metrics(config: PipelineConfig) -> dict[str, str]:
    """Return the metrics that each training measures on eval, the default first, and `max` or `min` for the best."""
    if isinstance(config.task, ClassificationConfig):
        best = {"accuracy": "max", "balanced_accuracy": "max", "pr_auc": "max"}
        return {**best, "loss": "min", "nll": "min", "ece": "min"}
    if is_multi_label(config.task):
        return {"accuracy": "max", "pr_auc": "max", "loss": "min"}
    return {"mae": "min", "loss": "min"}


def single(trainer: TrainerConfig) -> TrainerConfig:
    """Return a configuration of one model, in place of `training.members`: pairs are of single trainings."""
    return trainer.model_copy(update={"training": trainer.training.model_copy(update={"members": 1})})


def noise_variants(config: PipelineConfig, scales: Sequence[float], kinds: Sequence[str] = ()) -> list[Variant]:
    """Return the variants of `noisy-gru noise`: every layer's stddev times each scale, then other kinds of noise.

    Args:
        config: whose noise is varied.
        scales: factors; 0 and 1 are always among them, and none else where all layers have `noise: carried`.
        kinds: of `KINDS`; one that is configured is left out.

    Raises:
        ConfigError: no layer has noise to scale, or a kind is unknown.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ConfigError(f"--kinds {unknown[0]}: expected {', '.join(KINDS)}, separated by commas, or none")
    layers = config.model.layers
    if not any(layer.stddev for layer in layers):
        example = " ".join(f"--set model.layers.{index}.stddev=0.1" for index in range(len(layers)))
        raise ConfigError(
            f"noisy-gru noise multiplies the stddev of every layer, and all are 0. Give them one, for example {example}"
        )
    has_scale = any(layer.stddev and not layer.is_carried for layer in layers)
    every = sorted({0.0, 1.0, *(scales if has_scale else ())})
    trainer = single(config.trainer)
    variants = [Variant(f"x{scale:g}", scaled(trainer, scale), {"scale": scale}) for scale in every]
    configured = next(each.trainer for each in variants if each.values["scale"] == 1)
    others = [Variant(kind, of_kind(trainer, kind), {"kind": kind}) for kind in dict.fromkeys(kinds)]
    return variants + [each for each in others if each.trainer != configured]


def of_kind(trainer: TrainerConfig, kind: str) -> TrainerConfig:
    """Return a configuration with another kind of noise in all layers, with their stddev (0.1 where it is 0)."""
    changes: list[dict[str, Any]] = []
    for layer in trainer.model.layers:
        noise = "carried" if kind == "carried" else "normal" if layer.noise == "carried" else layer.noise
        share = layer.share if kind == "carried" else None
        changes.append({"noise": noise, "stddev": layer.stddev or 0.1, "share": share})
    layers = [layer.model_copy(update=each) for layer, each in zip(trainer.model.layers, changes, strict=True)]
    model = trainer.model.model_copy(update={"layers": layers, "stddev": "layers" if kind == "carried" else kind})
    return trainer.model_copy(update={"model": model})


def compared_variants(
    path: Path, config: PipelineConfig, vary: Sequence[str], overrides: Sequence[str]
) -> list[Variant]:
    """Return the configured variant, then all combinations of the values of `--vary`.

    Args:
        path: of the configuration's file.
        config: loaded from it, with the overrides.
        vary: `key=value,value,…` each; a value is YAML, and an index into a list is written `[0]` or `.0`.
        overrides: of `--set`.

    Raises:
        ConfigError: a key or value isn't valid, a variant can't be trained, or it would change the transformed data.
    """
    axes = [_axis(each) for each in vary]
    keys = [key for key, _ in axes]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise ConfigError(f"--vary {twice[0]}: given twice; give all its values at once, separated by commas")
    variants = [Variant(CONFIGURED, single(config.trainer))]
    for values in itertools.product(*(values for _, values in axes)):
        settings = [f"{key}={json.dumps(value)}" for key, value in zip(keys, values, strict=True)]
        name = " ".join(f"{key}={_shown(value)}" for key, value in zip(keys, values, strict=True))
        try:
            changed = load_config(path, [*overrides, *settings])
            check_config(changed, files=False)
        except ConfigError as error:
            raise ConfigError(f"--vary {name}: {str(error).replace('--set ', '')}") from error
        trainer = single(changed.trainer)
        if trainer not in [each.trainer for each in variants]:
            variants.append(Variant(name, trainer, dict(zip(keys, values, strict=True))))
    if len(variants) == 1:
        raise ConfigError(f"--vary {' --vary '.join(vary)}: these are the values of the configuration already")
    return variants


def _axis(text: str) -> tuple[str, list[Any]]:
    """Return the key, in the syntax of `--set`, and the values of one `--vary`."""
    key, equals, values = text.partition("=")
    key = _INDEX.sub(r".\1", key.strip())
    if not equals or not key or not values.strip():
        raise ConfigError(f"--vary {text}: expected key=value,value, for example --vary model.layers[0].units=32,64")
    if key == _MEMBERS:
        raise ConfigError(
            f"--vary {text}: every training of an experiment is of a single model, so members would make no "
            "difference. Compare two runs in place of it: noisy-gru runs compare A B"
        )
    section = key.partition(".")[0]
    if section not in _SECTIONS or "." not in key:
        raise ConfigError(
            f"--vary {text}: expected a key of model or training, for example model.layers[0].units; what {section} "
            "changes, the transformed data or the seed, is the same in all variants (seeds: --seeds)"
        )
    try:
        # The inside of a list in YAML, whose items may be lists and mappings.
        found = yaml.safe_load(f"[{values}]")
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"--vary {text}: the values are not YAML, separated by commas: {problem}") from error
    if any(value is None and "null" not in values and "~" not in values for value in found):
        raise ConfigError(f"--vary {text}: a value is empty; write null for none")
    return key, found


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
