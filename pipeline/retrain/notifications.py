"""Tells a webhook and a command how a retraining ended. What fails here is told, and changes nothing else.

>>> told = notify(config.retraining.notify, "failure", {"run_id": "…", "error": "…"})  # doctest: +SKIP
>>> [(each.hook, each.error) for each in told]  # doctest: +SKIP
[('webhook', None), ('command', 'hook.sh: ended with 1: …')]
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
from noisy_gru.schema.durations import parse_duration

SIGNATURE_HEADER = "X-Noisy-Gru-Signature"
_LONGEST_WAIT = 60.0
_BUSY = 429
_SERVER_ERROR = 500
_SAID = 300
# What a command finds in its environment, by key of the content.
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
    """What became of one hook: ``error`` is None if it was told."""

    hook: str
    error: str | None


class _AgainError(Exception):
    """A webhook that may answer the next time."""


def notify(
    config: NotifyConfig,
    event: NotifyEvent,
    content: Mapping[str, Any],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Delivery]:
    """Tells every hook that wants to know of an event.

    Args:
        config: the hooks.
        event: what happened.
        content: the JSON object, but for its ``event``.
        sleep: waits between the attempts of a webhook, in seconds.

    Returns:
        What became of each hook; nothing is raised for one that fails.
    """
    if event not in config.events:
        return []
    content = {"event": event, **content}
    # NaN, which a metric may be, is no JSON.
    body = to_json(content, inf_nan_mode="null")
    told = []
    if config.webhook is not None:
        told.append(Delivery("webhook", _post(config.webhook, body, sleep)))
    if config.command is not None:
        told.append(Delivery("command", _start(config.command, body, content)))
    return told


def _post(config: WebhookConfig, body: bytes, sleep: Callable[[float], None]) -> str | None:
    """Sends the body; returns what went wrong."""
    url = config.url or os.environ.get(config.url_env or "")
    if not url:
        return f"webhook: expected the URL in the environment variable {config.url_env}, which is not set"
    headers = {"Content-Type": "application/json", **config.headers}
    if config.secret_env is not None:
        secret = os.environ.get(config.secret_env)
        if not secret:
            return (
                f"webhook: expected the secret in the environment variable {config.secret_env}, which is not set; "
                "nothing is sent without the signature"
            )
        headers[SIGNATURE_HEADER] = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    seconds = parse_duration(config.timeout).total_seconds()
    # A URL may be a secret, so only its host is told.
    try:
        where = httpx.URL(url).host
    except httpx.InvalidURL as error:
        return f"webhook: no URL: {error}"
    retrying = Retrying(
        retry=retry_if_exception_type(_AgainError),
        stop=stop_after_attempt(config.attempts),
        wait=wait_exponential(multiplier=1, max=_LONGEST_WAIT),
        sleep=sleep,
        reraise=True,
    )
    try:
        with httpx.Client(timeout=seconds, follow_redirects=False) as client:
            problem = retrying(_attempt, client, url, headers, body)
    except _AgainError as error:
        return f"webhook at {where}: {error}, after {config.attempts} attempts"
    return None if problem is None else f"webhook at {where}: {problem}"


def _attempt(client: httpx.Client, url: str, headers: dict[str, str], body: bytes) -> str | None:
    """One POST; returns what is wrong for good, raises what may pass."""
    try:
        answer = client.post(url, content=body, headers=headers)
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
        return f"{type(error).__name__}: {error}"
    except httpx.HTTPError as error:
        raise _AgainError(f"{type(error).__name__}: {error}") from error
    if answer.is_success:
        return None
    said = f"HTTP {answer.status_code} {answer.text[:_SAID].strip()}".strip()
    if answer.status_code == _BUSY or answer.status_code >= _SERVER_ERROR:
        raise _AgainError(said)
    return said


def _start(config: CommandHookConfig, body: bytes, content: Mapping[str, Any]) -> str | None:
    """Starts the command; returns what went wrong."""
    values = {name: content.get(key) for name, key in ENVIRONMENT.items()}
    environment = {name: "" if value is None else str(value) for name, value in values.items()}
    name = config.argv[0]
    # Files in place of pipes: what a hook leaves running in the background may hold those open.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write(body)
        given.seek(0)
        try:
            process = subprocess.Popen(
                config.argv,
                stdin=given,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        except OSError as error:
            return f"{name}: can't be started: {error.strerror or error}"
        try:
            code = process.wait(parse_duration(config.timeout).total_seconds())
        except subprocess.TimeoutExpired:
            return f"{name}: killed, as it took longer than {config.timeout} (retraining.notify.command.timeout)"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said.seek(0)
        text = said.read().decode(errors="replace").strip()[-_SAID:]
    return f"{name}: ended with {code}" + (f": {text}" if text else "") if code else None
