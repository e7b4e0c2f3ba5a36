"""Configuration of retraining: rules, warm start, what is kept of old runs, schedule and notifications."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from noisy_gru.components.retrain_planner.config import RulesConfig
from noisy_gru.pipeline.config.cron import cron_times
from noisy_gru.schema.config import Section
from noisy_gru.schema.durations import Duration, PositiveDuration
from noisy_gru.schema.time_zones import check_time_zone
from noisy_gru.trainer.config import WarmStartConfig


class KeepConfig(Section):
    """Runs of this pipeline that keep their artifacts and logs; all that a published version needs is always kept.

    A run that either rule keeps is kept; with both null, all are.
    """

    runs: int | None = Field(default=30, ge=1, description="Number of the pipeline's newest runs to keep.")
    days: float | None = Field(default=None, gt=0, description="Keep runs that began within this many days.")


class RetrainScheduleConfig(Section):
    """Schedule of `noisy-gru retrain schedule`."""

    cron: str | None = Field(
        default=None,
        description="Cron expression: five fields, as in crontab, or six, seconds first, or @daily and the like; "
        "Sunday is 0. null: `--cron` is required.",
    )
    timezone: str = Field(
        default="UTC",
        description="Time zone of the expression, for example Europe/Berlin. A time that the change to summer time "
        "skips runs right after the change; one that is repeated in autumn runs the first time.",
    )
    jitter: Duration = Field(
        default="0s", description="Random delay of up to this much, so that not all pipelines start at once."
    )
    missed: Literal["run", "skip"] = Field(
        default="run",
        description="Times missed because the machine slept, the scheduler was down or a retraining took that long: "
        "`run` makes up for all of them by one run, `skip` waits for the next time.",
    )
    time_limit: PositiveDuration | None = Field(
        default=None,
        description="A retraining that takes longer is killed and counts as failed; the next one resumes after the "
        "last finished step. null: no limit.",
    )

    @field_validator("cron")
    @classmethod
    def _parsable(cls, cron: str | None) -> str | None:
        if cron is not None:
            cron_times(cron)
        return cron

    @field_validator("timezone")
    @classmethod
    def _known(cls, timezone: str) -> str:
        return check_time_zone(timezone)


# success: published; refusal: trained, but the gates refused the model; failure: also killed; held: an alarm waits for
# a person; skipped: not due.
NotifyEvent = Literal["success", "refusal", "failure", "interruption", "held", "skipped"]
_EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

# With a name, or alone; no line end, which would begin another header.
_ADDRESS = r"^[^\r\n]*[^\s@<>,]+@[^\s@<>,]+>?$"


class WebhookConfig(Section):
    """An HTTP POST with a JSON object."""

    format: Literal["json", "slack", "teams"] = Field(
        default="json",
        description="`json`: everything, for a program; `slack`, `teams`: a message with a link to the report, for an "
        "incoming webhook of Slack or a workflow of Microsoft Teams.",
    )
    url: str | None = Field(default=None, pattern=r"^https?://", description="URL of the webhook.")
    url_env: _EnvironmentName | None = Field(
        default=None, description="Environment variable with the URL, in place of `url`, as it often is a secret."
    )
    headers: dict[str, str] = Field(default_factory=dict, description="Additional headers.")
    secret_env: _EnvironmentName | None = Field(
        default=None,
        description="Environment variable with the secret that signs the body: `X-Noisy-Gru-Signature: "
        "sha256=<HMAC in hexadecimal>`.",
    )
    timeout: PositiveDuration = Field(default="10s", description="Timeout of one attempt.")
    attempts: int = Field(
        default=5, ge=1, le=20, description="Attempts, 1, 2, 4, … s apart, if there is no response, or a 429 or 5xx."
    )

    @model_validator(mode="after")
    def _one_url(self) -> WebhookConfig:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("expected either url or url_env")
        return self


class CommandHookConfig(Section):
    """A program that gets the JSON object on its standard input."""

    argv: list[str] = Field(
        min_length=1,
        description="The program and its arguments, run without a shell. The environment has NOISY_GRU_EVENT, "
        "_PIPELINE, _RUN_ID, _STATUS, _VERSION and _RUN_RECORD.",
    )
    timeout: PositiveDuration = Field(default="1m", description="Time limit, after which it is killed.")


class EmailConfig(Section):
    """A message over SMTP, with a picture of the training."""

    host: str = Field(min_length=1, description="The mail server.")
    port: int = Field(default=587, ge=1, le=65535, description="Its port.")
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls",
        description="`starttls`: encrypted after the greeting (port 587); `tls`: from the start (port 465); `none`: a "
        "relay on this machine or network. The server's certificate is checked.",
    )
    user: str | None = Field(default=None, min_length=1, description="Name to log in with; null: without.")
    password_env: _EnvironmentName | None = Field(
        default=None, description="Environment variable with the password of `user`."
    )
    sender: str = Field(alias="from", pattern=_ADDRESS, description="Address of the sender.")
    to: list[Annotated[str, Field(pattern=_ADDRESS)]] = Field(min_length=1, description="Addresses of the recipients.")
    picture: bool = Field(default=True, description="Whether the loss and a metric by epoch are in it as a picture.")
    timeout: PositiveDuration = Field(default="30s", description="Timeout of the connection.")

    @model_validator(mode="after")
    def _login(self) -> EmailConfig:
        if (self.user is None) != (self.password_env is None):
            raise ValueError("expected both user and password_env, or neither")
        if self.user is not None and self.security == "none" and self.host not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("a password is not sent without encryption: set security to starttls or tls")
        return self


class NotifyConfig(Section):
    """Notifications of how a retraining ended. A failed one is reported and does not change the outcome."""

    # Not `on`, which YAML reads as true.
    events: list[NotifyEvent] = Field(
        default_factory=lambda: ["success", "refusal", "failure", "held"],
        description="Events: `success` (published), `refusal` (trained, not published), `failure` (also a killed run), "
        "`held` (an alarm waits for a person), `interruption` (stopped by a signal), `skipped` (not due).",
    )
    report_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Link of the messages to a run's report, with {run_id} in it, such as "
        "https://models.example.org/runs/{run_id}.html.",
    )
    webhook: WebhookConfig | None = Field(default=None, description="Webhook to POST to.")
    command: CommandHookConfig | None = Field(default=None, description="Program to run.")
    email: EmailConfig | None = Field(default=None, description="E-mail to send.")


class RetrainingConfig(Section):
    """When and how `noisy-gru retrain` trains the model again."""

    rules: RulesConfig = Field(default_factory=lambda: RulesConfig(), description="Rules for when retraining is due.")
    warm_start: WarmStartConfig = Field(
        default_factory=lambda: WarmStartConfig(),
        description="Training that starts from the published model's weights.",
    )
    keep: KeepConfig = Field(
        default_factory=lambda: KeepConfig(), description="Runs that keep their artifacts and logs."
    )
    schedule: RetrainScheduleConfig = Field(
        default_factory=lambda: RetrainScheduleConfig(),
        description="Times at which `noisy-gru retrain schedule` checks whether retraining is due.",
    )
    notify: NotifyConfig = Field(
        default_factory=lambda: NotifyConfig(), description="Notifications of how a retraining ended."
    )
