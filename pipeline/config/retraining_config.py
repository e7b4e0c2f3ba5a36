"""The part of the configuration that says when and how a model is trained again."""

from __future__ import annotations

from pydantic import Field

from noisy_gru.components.retrain_planner.config import RulesConfig
from noisy_gru.pipeline.config.notify_config import NotifyConfig
from noisy_gru.pipeline.config.pruning_config import KeepConfig
from noisy_gru.pipeline.config.schedule_config import ScheduleConfig
from noisy_gru.schema.config import Section
from noisy_gru.trainer.config import WarmStartConfig


class RetrainingConfig(Section):
    """When and how `noisy-gru retrain` trains the model again."""

    rules: RulesConfig = Field(default_factory=lambda: RulesConfig(), description="When retraining is due.")
    warm_start: WarmStartConfig = Field(
        default_factory=lambda: WarmStartConfig(), description="Training that goes on from the published model."
    )
    keep: KeepConfig = Field(
        default_factory=lambda: KeepConfig(), description="Which runs keep their artifacts and logs."
    )
    schedule: ScheduleConfig = Field(
        default_factory=lambda: ScheduleConfig(),
        description="When `noisy-gru retrain schedule` asks whether it is due.",
    )
    notify: NotifyConfig = Field(
        default_factory=lambda: NotifyConfig(), description="Who is told how a retraining ended."
    )
