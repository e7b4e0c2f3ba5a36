"""Notify a webhook, a command and people by e-mail of how a retraining ended.

A failed notification is reported, never raised.

>>> deliveries = notify(config.retraining.notify, "failure", {"run_id": "…", "error": "…"})  # doctest: +SKIP
>>> [(each.hook, each.error) for each in deliveries]  # doctest: +SKIP
[('webhook', None), ('command', 'hook.sh: exited with code 1: …')]
"""

from __future__ import annotations

import hashlib
import hmac
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic_core import to_json
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from noisy_gru.pipeline.config.retraining_config import CommandHookConfig, NotifyConfig, NotifyEvent, WebhookConfig
from noisy_gru.pipeline.retrain.notification_messages import slack_message, teams_message
from noisy_gru.schema.durations import parse_duration

SIGNATURE_HEADER = "X-Noisy-Gru-Signature"
_LONGEST_WAIT = 60.0
_BUSY = 429
_SERVER_ERROR = 500
_LONGEST_OUTPUT = 300
# Environment variables of a command, and the key of the content that each holds.
ENVIRONMENT = {
    "NOISY_GRU_EVENT": "event",
    "NOISY_GRU_PIPELINE": "pipeline",
    "NOISY_GRU_RUN_ID": "run_id",
    "NOISY_GRU_STATUS": "status",
    "NOISY_GRU_VERSION": "version",
    "NOISY_GRU_RUN_RECORD": "record",
}


@dataclass(frozen=True)
class Delivery:
    """The result of one notification: ``error`` is None if it was delivered."""

    hook: str
    error: str | None


class _RetryableError(Exception):
    """The webhook may accept the next attempt."""


def notify(
    config: NotifyConfig,
    event: NotifyEvent,
    content: Mapping[str, Any],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Delivery]:
    """Send an event to every configured hook.

    Args:
        config: the hooks.
        event: what happened.
        content: the JSON object, without its ``event``.
        sleep: waits between the attempts of a webhook, in seconds.

    Returns:
        One delivery for each hook, with its error if it failed; none if the event is not configured.
    """
    if event not in config.events:
        return []
    content = {"event": event, **content}
    # NaN, which a metric may be, is no JSON.
    body = to_json(content, inf_nan_mode="null")
    deliveries = []
    if config.webhook is not None:
        deliveries.append(Delivery("webhook", _post(config.webhook, _message(config, content, body), sleep)))
    if config.command is not None:
        deliveries.append(Delivery("command", _start(config.command, body, content)))
    if config.email is not None:
        from noisy_gru.pipeline.retrain.email_delivery import send_email

        deliveries.append(Delivery("email", send_email(config.email, content, _link(config, content))))
    return deliveries


def _link(config: NotifyConfig, content: Mapping[str, Any]) -> str | None:
    if config.report_url is None or not content.get("run_id"):
        return None
    return config.report_url.replace("{run_id}", str(content["run_id"]))


def _message(config: NotifyConfig, content: Mapping[str, Any], body: bytes) -> bytes:
    """Return the body for the webhook, in its format."""
    link = _link(config, content)
    match config.webhook.format if config.webhook is not None else "json":
        case "slack":
            return to_json(slack_message(content, link), inf_nan_mode="null")
        case "teams":
            return to_json(teams_message(content, link), inf_nan_mode="null")
    return body


def _post(config: WebhookConfig, body: bytes, sleep: Callable[[float], None]) -> str | None:
    """POST the body; return the error, or None."""
    url = config.url or os.environ.get(config.url_env or "")
    if not url:
        return f"webhook: expected its URL in the environment variable {config.url_env}, which is not set"
    headers = {"Content-Type": "application/json", **config.headers}
    if config.secret_env is not None:
        secret = os.environ.get(config.secret_env)
        if not secret:
            return (
                f"webhook: expected the secret in the environment variable {config.secret_env}, which is not set; "
                "nothing was sent without the signature"
            )
        headers[SIGNATURE_HEADER] = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    seconds = parse_duration(config.timeout).total_seconds()
    # A URL may be a secret, so messages hold its host alone.
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL as error:
        return f"webhook: the URL is not valid: {error}"
    retrying = Retrying(
        retry=retry_if_exception_type(_RetryableError),
        stop=stop_after_attempt(config.attempts),
        wait=wait_exponential(multiplier=1, max=_LONGEST_WAIT),
        sleep=sleep,
        reraise=True,
    )
    try:
        with httpx.Client(timeout=seconds, follow_redirects=False) as client:
            problem = retrying(_attempt, client, url, headers, body)
    except _RetryableError as error:
        return f"webhook at {host}: {error}, after {config.attempts} attempts"
    return None if problem is None else f"webhook at {host}: {problem}"


def _attempt(client: httpx.Client, url: str, headers: dict[str, str], body: bytes) -> str | None:
    """POST once; return a permanent error or None, raise ``_RetryableError`` for one that may pass."""
    try:
        response = client.post(url, content=body, headers=headers)
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
        return f"{type(error).__name__}: {error}"
    except httpx.HTTPError as error:
        raise _RetryableError(f"{type(error).__name__}: {error}") from error
    if response.is_success:
        return None
    error = f"HTTP {response.status_code} {response.text[:_LONGEST_OUTPUT].strip()}".strip()
    if response.status_code == _BUSY or response.status_code >= _SERVER_ERROR:
        raise _RetryableError(error)
    return error


def _start(config: CommandHookConfig, body: bytes, content: Mapping[str, Any]) -> str | None:
    """Run the command; return the error, or None."""
    values = {name: content.get(key) for name, key in ENVIRONMENT.items()}
    environment = {name: "" if value is None else str(value) for name, value in values.items()}
    name = config.argv[0]
    # Files in place of pipes: what a hook leaves running in the background may hold those open.
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
        stdin.write(body)
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                config.argv,
                stdin=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        except OSError as error:
            return f"{name}: can't be started: {error.strerror or error}"
        try:
            code = process.wait(parse_duration(config.timeout).total_seconds())
        except subprocess.TimeoutExpired:
            return f"{name}: killed because it took longer than {config.timeout} (retraining.notify.command.timeout)"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace").strip()[-_LONGEST_OUTPUT:]
    return f"{name}: exited with code {code}" + (f": {text}" if text else "") if code else None
