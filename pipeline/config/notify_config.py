"""The part of the configuration that says who is told how a retraining ended."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from noisy_gru.schema.config import Section
from noisy_gru.schema.durations import Duration, parse_duration

# success: published; refusal: trained, but the gates refused the model; failure: also killed; held: an alarm asks for a
# person; skipped: nothing to do.
NotifyEvent = Literal["success", "refusal", "failure", "interruption", "held", "skipped"]
_EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def _positive(duration: str) -> str:
    if not parse_duration(duration):
        raise ValueError(f"expected more than 0, received {duration!r}")
    return duration


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
    timeout: Duration = Field(default="10s", description="Time for one attempt.")
    attempts: int = Field(
        default=5, ge=1, le=20, description="Attempts, 1, 2, 4, … s apart, when there is no answer, or a 429 or 5xx."
    )

    @field_validator("timeout")
    @classmethod
    def _some_time(cls, timeout: str) -> str:
        return _positive(timeout)

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
    timeout: Duration = Field(default="1m", description="Time until it is killed.")

    @field_validator("timeout")
    @classmethod
    def _some_time(cls, timeout: str) -> str:
        return _positive(timeout)


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
