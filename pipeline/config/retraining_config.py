"""Configuration of retraining: rules, warm start, what is kept of old runs, schedule and notifications."""

from __future__ import annotations

import zoneinfo
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from noisy_gru.components.retrain_planner.config import RulesConfig
from noisy_gru.pipeline.config.cron import cron_times
from noisy_gru.schema.config import Section
from noisy_gru.schema.durations import Duration, PositiveDuration
from noisy_gru.trainer.config import WarmStartConfig


class KeepConfig(Section):
    """Which runs keep their artifacts and logs; records are kept for ever, and so is what a published version needs.

    A run that either rule keeps is kept; with both null, all are.
    """

    runs: int | None = Field(default=30, ge=1, description="The newest runs, as many.")
    days: float | None = Field(default=None, gt=0, description="The runs that began within as many days.")


class RetrainScheduleConfig(Section):
    """When `noisy-gru retrain schedule` asks whether to train again."""

    cron: str | None = Field(
        default=None,
        description="Five fields, as in crontab, or six, seconds first, or @daily and the like; Sunday is 0. null: "
        "`--cron` has to give it.",
    )
    timezone: str = Field(
        default="UTC",
        description="Zone of the times, for example Europe/Berlin. A time that the change to summer time leaves out "
        "runs at once after the change; one that comes twice in autumn runs the first time.",
    )
    jitter: Duration = Field(
        default="0s", description="Up to this much later, by chance, so that not all pipelines start at once."
    )
    missed: Literal["run", "skip"] = Field(
        default="run",
        description="Times that passed while nothing could run (the machine slept, the scheduler was down, the "
        "retraining before took that long): `run` makes up for all of them by one run, `skip` waits for the next time.",
    )
    time_limit: PositiveDuration | None = Field(
        default=None,
        description="A retraining that takes longer is killed, as one that hangs would keep all others out; that is a "
        "failure, and the next one goes on from the last finished step. null: no limit.",
    )

    @field_validator("cron")
    @classmethod
    def _readable(cls, cron: str | None) -> str | None:
        if cron is not None:
            cron_times(cron)
        return cron

    @field_validator("timezone")
    @classmethod
    def _known(cls, timezone: str) -> str:
        # ValueError: an absolute path, or one that leads out of the folder of zones.
        try:
            zoneinfo.ZoneInfo(timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"expected a time zone of the IANA database, such as Europe/Berlin or UTC; received {timezone!r}"
            ) from error
        return timezone


# success: published; refusal: trained, but the gates refused the model; failure: also killed; held: an alarm asks for a
# person; skipped: nothing to do.
NotifyEvent = Literal["success", "refusal", "failure", "interruption", "held", "skipped"]
_EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class WebhookConfig(Section):
    """An HTTP POST with a JSON object."""

    url: str | None = Field(default=None, pattern=r"^https?://", description="Where to send it.")
    url_env: _EnvironmentName | None = Field(
        default=None, description="Environment variable that holds the URL, in place of `url`, as it often is a secret."
    )
    headers: dict[str, str] = Field(default_factory=dict, description="Headers to send along.")
    secret_env: _EnvironmentName | None = Field(
        default=None,
        description="Environment variable that holds a secret. The body is signed with it: `X-Noisy-Gru-Signature: "
        "sha256=` and the HMAC in hexadecimal.",
    )
    timeout: PositiveDuration = Field(default="10s", description="Time for one attempt.")
    attempts: int = Field(
        default=5, ge=1, le=20, description="Attempts, 1, 2, 4, … s apart, when there is no answer, or a 429 or 5xx."
    )

    @model_validator(mode="after")
    def _one_url(self) -> WebhookConfig:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("expected either url or url_env")
        return self


class CommandHookConfig(Section):
    """A program that is started with the JSON object on its standard input."""

    argv: list[str] = Field(
        min_length=1,
        description="The program and its arguments, without a shell. What is asked for most is in the environment: "
        "NOISY_GRU_EVENT, _PIPELINE, _RUN_ID, _STATUS, _VERSION and _RUN_RECORD.",
    )
    timeout: PositiveDuration = Field(default="1m", description="Time until it is killed.")


class NotifyConfig(Section):
    """Who is told how a retraining ended. A hook that fails is told of, and changes nothing of the outcome."""

    # Not `on`: that is a word for true in YAML.
    events: list[NotifyEvent] = Field(
        default_factory=lambda: ["success", "refusal", "failure", "held"],
        description="When: `success` (published), `refusal` (trained, not published), `failure` (also a killed run), "
        "`held` (an alarm asks for a person), `interruption` (stopped by a signal), `skipped` (nothing to do).",
    )
    webhook: WebhookConfig | None = Field(default=None, description="An HTTP POST.")
    command: CommandHookConfig | None = Field(default=None, description="A program.")


class RetrainingConfig(Section):
    """When and how `noisy-gru retrain` trains the model again."""

    rules: RulesConfig = Field(default_factory=lambda: RulesConfig(), description="When retraining is due.")
    warm_start: WarmStartConfig = Field(
        default_factory=lambda: WarmStartConfig(), description="Training that goes on from the published model."
    )
    keep: KeepConfig = Field(
        default_factory=lambda: KeepConfig(), description="Which runs keep their artifacts and logs."
    )
    schedule: RetrainScheduleConfig = Field(
        default_factory=lambda: RetrainScheduleConfig(),
        description="When `noisy-gru retrain schedule` asks whether it is due.",
    )
    notify: NotifyConfig = Field(
        default_factory=lambda: NotifyConfig(), description="Who is told how a retraining ended."
    )
