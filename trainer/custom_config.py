"""The `custom_config` that the pipeline passes to the TFX module file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from noisy_gru.schema.config import DatasetConfig, Section
from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.config import TrainerConfig, WarmStartConfig

DATASET = "dataset"
TRAINER = "trainer"
FINGERPRINT = "fingerprint"
WORKING_DIR = "working_dir"
WARM_START = "warm_start"

T = TypeVar("T", bound=Section)


@dataclass(frozen=True)
class CustomConfig:
    """The parsed `custom_config`.

    Attributes:
        dataset: columns, task, windows and splits.
        trainer: the model and how it is trained.
        fingerprint: of the package's source; part of TFX's cache key.
        working_dir: a folder that outlives an execution, for checkpoints; None: an interrupted training restarts.
        warm_start: how far a base model may differ; only used by the Trainer, and with a base model.
    """

    dataset: DatasetConfig
    trainer: TrainerConfig
    fingerprint: str = ""
    working_dir: str | None = None
    warm_start: WarmStartConfig = field(default_factory=WarmStartConfig)

    @classmethod
    def parse(cls, custom_config: Mapping[str, Any] | None) -> CustomConfig:
        """Parse `custom_config`; a section may be a mapping or JSON text.

        Raises:
            ConfigError: `dataset` is missing, or a section does not validate.
        """
        config = dict(custom_config or {})
        if DATASET not in config:
            raise ConfigError(
                "custom_config must hold 'dataset', the JSON of a DatasetConfig, beside 'trainer', that of a "
                f"TrainerConfig. Received the keys: {sorted(config) or 'none'}"
            )
        return cls(
            dataset=_section(DatasetConfig, config[DATASET], DATASET),
            trainer=_section(TrainerConfig, config.get(TRAINER, {}), TRAINER),
            fingerprint=str(config.get(FINGERPRINT, "")),
            working_dir=config.get(WORKING_DIR),
            warm_start=_section(WarmStartConfig, config.get(WARM_START, {}), WARM_START),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the mapping that `parse` reads."""
        config: dict[str, Any] = {
            DATASET: self.dataset.model_dump(mode="json"),
            TRAINER: self.trainer.model_dump(mode="json"),
            FINGERPRINT: self.fingerprint,
            WARM_START: self.warm_start.model_dump(mode="json"),
        }
        if self.working_dir is not None:
            config[WORKING_DIR] = self.working_dir
        return config


def _section(model: type[T], value: Any, key: str) -> T:
    try:
        return model.model_validate(json.loads(value) if isinstance(value, str) else value)
    except (ValidationError, json.JSONDecodeError) as error:
        raise ConfigError(f"custom_config[{key!r}] is not a valid {model.__name__}: {error}") from error
