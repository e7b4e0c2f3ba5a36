"""Hooks: what a webhook and a command are given, when they are tried again, and what is told when they fail."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from noisy_gru.pipeline.config.retraining_config import NotifyConfig
from noisy_gru.pipeline.retrain.notifications import SIGNATURE_HEADER, notify

CONTENT = {"pipeline": "vowels", "run_id": "20260401-030000-114270", "version": 17, "metrics": {"a": float("nan")}}


class Server:
    """Answers with one status after the other, and keeps what it was sent."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.requests.append((dict(self.headers), body))
                self.send_response(server.statuses.pop(0))
                self.end_headers()
                self.wfile.write(b"so it is")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/hook"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever)
    thread.start()
    yield made
    made.http.shutdown()
    thread.join()
    made.http.server_close()


def config(**hooks: Any) -> NotifyConfig:
    return NotifyConfig.model_validate(hooks)


def test_a_webhook_that_fails_twice_is_asked_a_third_time(server, monkeypatch):
    monkeypatch.setenv("SECRET", "key")
    server.statuses = [503, 429, 204]
    waited: list[float] = []
    hook = {"url": server.url, "secret_env": "SECRET", "headers": {"X-Team": "speech"}}
    (deliveries,) = notify(config(webhook=hook), "success", CONTENT, sleep=waited.append)
    assert (deliveries.hook, deliveries.error) == ("webhook", None)
    assert waited == [1.0, 2.0]
    assert len({body for _, body in server.requests}) == 1 and len(server.requests) == 3
    headers, body = server.requests[-1]
    assert json.loads(body) == {**CONTENT, "event": "success", "metrics": {"a": None}}
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Team"] == "speech"
    assert headers[SIGNATURE_HEADER] == "sha256=" + hmac.new(b"key", body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("statuses", "attempts", "words"),
    [
        ([404], 1, "webhook at 127.0.0.1: HTTP 404 so it is"),
        ([302], 1, "webhook at 127.0.0.1: HTTP 302 so it is"),
        ([500] * 3, 3, "webhook at 127.0.0.1: HTTP 500 so it is, after 3 attempts"),
    ],
)
def test_a_webhook_that_does_not_take_it(server, statuses, attempts, words):
    server.statuses = statuses
    (deliveries,) = notify(
        config(webhook={"url": server.url, "attempts": 3}), "failure", CONTENT, sleep=lambda seconds: None
    )
    assert deliveries.error == words
    assert len(server.requests) == attempts


def test_nobody_listens():
    waited: list[float] = []
    with socket.socket() as taken:
        # Bound, so that nobody else listens there in the meantime either.
        taken.bind(("127.0.0.1", 0))
        hook = {"url": f"http://127.0.0.1:{taken.getsockname()[1]}/secret-path", "attempts": 2}
        (deliveries,) = notify(config(webhook=hook), "failure", CONTENT, sleep=waited.append)
    assert deliveries.error is not None
    assert "webhook at 127.0.0.1: ConnectError" in deliveries.error and "after 2 attempts" in deliveries.error
    assert "secret-path" not in deliveries.error
    assert waited == [1.0]


def test_a_webhook_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        hook = {"url": url, "attempts": 1, "timeout": "0.2s"}
        (deliveries,) = notify(config(webhook=hook), "failure", CONTENT)
    assert deliveries.error is not None and "ReadTimeout" in deliveries.error


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ({"url_env": "NO_SUCH_URL"}, "expected its URL in the environment variable NO_SUCH_URL, which is not set"),
        ({"url": "http://127.0.0.1:1", "secret_env": "NO_SUCH_SECRET"}, "NO_SUCH_SECRET, which is not set; nothing"),
    ],
)
def test_variables_that_are_not_set(hook, words):
    (deliveries,) = notify(config(webhook=hook), "success", CONTENT)
    assert deliveries.error is not None and words in deliveries.error


def test_the_url_may_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("HOOK_URL", server.url)
    server.statuses = [200]
    (deliveries,) = notify(config(webhook={"url_env": "HOOK_URL"}), "success", CONTENT)
    assert deliveries.error is None
    assert len(server.requests) == 1
    monkeypatch.setenv("HOOK_URL", "file:///etc/passwd")
    (deliveries,) = notify(config(webhook={"url_env": "HOOK_URL"}), "success", CONTENT)
    assert deliveries.error is not None and "UnsupportedProtocol" in deliveries.error


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def test_a_command_is_given_the_content_and_the_environment(tmp_path: Path):
    code = (
        "import json, os, sys; json.dump([json.load(sys.stdin), "
        "{k: v for k, v in os.environ.items() if k.startswith('NOISY_GRU_')}], open(sys.argv[1], 'w'))"
    )
    argv = python(code, str(tmp_path / "told.json"))
    (deliveries,) = notify(config(command={"argv": argv}), "refusal", CONTENT)
    assert (deliveries.hook, deliveries.error) == ("command", None)
    content, environment = json.loads((tmp_path / "told.json").read_text())
    assert content["event"] == "refusal" and content["run_id"] == CONTENT["run_id"]
    assert environment == {
        "NOISY_GRU_EVENT": "refusal",
        "NOISY_GRU_PIPELINE": "vowels",
        "NOISY_GRU_RUN_ID": "20260401-030000-114270",
        "NOISY_GRU_STATUS": "",
        "NOISY_GRU_VERSION": "17",
        "NOISY_GRU_RUN_RECORD": "",
    }


def test_a_command_that_fails_is_told_with_what_it_said():
    argv = python("import sys; print('no mail today'); sys.exit(7)")
    (deliveries,) = notify(config(command={"argv": argv}), "failure", CONTENT)
    assert deliveries.error == f"{sys.executable}: exited with code 7: no mail today"


def test_a_command_that_is_not_there():
    (deliveries,) = notify(config(command={"argv": ["/no/such/hook"]}), "failure", CONTENT)
    assert deliveries.error == "/no/such/hook: can't be started: No such file or directory"


def test_a_command_that_hangs_is_killed_with_what_it_started():
    # The grandchild holds standard output, which a pipe would wait for.
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    (deliveries,) = notify(config(command={"argv": python(code), "timeout": "1s"}), "failure", CONTENT)
    assert deliveries.error is not None and "killed because it took longer than 1s" in deliveries.error


def test_one_hook_that_fails_does_not_keep_the_other(server):
    server.statuses = [400]
    deliveries = notify(config(webhook={"url": server.url}, command={"argv": python("")}), "success", CONTENT)
    assert [(each.hook, each.error is None) for each in deliveries] == [("webhook", False), ("command", True)]


def test_only_the_events_that_are_asked_for(server):
    assert notify(config(webhook={"url": server.url}, events=["failure"]), "success", CONTENT) == []
    assert notify(config(webhook={"url": server.url}), "skipped", CONTENT) == []
    assert server.requests == []


@pytest.mark.parametrize(
    ("hooks", "words"),
    [
        ({"webhook": {}}, "expected either url or url_env"),
        ({"webhook": {"url": "http://a", "url_env": "B"}}, "expected either url or url_env"),
        ({"webhook": {"url": "ftp://a"}}, "url"),
        ({"webhook": {"url": "http://a", "timeout": "0s"}}, "expected more than 0, received '0s'"),
        ({"command": {"argv": []}}, "argv"),
        ({"events": ["sometimes"]}, "events"),
    ],
)
def test_what_the_configuration_refuses(hooks, words):
    with pytest.raises(ValidationError, match=words):
        config(**hooks)


NIGHT = {
    "pipeline": "vowels",
    "status": "refused",
    "run_id": "20260401-030000-114270",
    "version": None,
    "metrics": {"accuracy": 0.91, "pr_auc": float("nan")},
    "previous": {"accuracy": 0.9346},
    "refusals": ["accuracy <b> & more", "r" * 5000],
    "error": None,
    "decision": {"summary": "due: 3 new spans"},
    "host": "night",
}


def sent(server: Server, **hook: Any) -> Any:
    server.statuses = [200]
    hooks = {"webhook": {"url": server.url, **hook}, "report_url": "https://models.example.org/{run_id}.html?a=1&b=2"}
    (delivery,) = notify(config(**hooks), "refusal", NIGHT)
    assert delivery.error is None
    return json.loads(server.requests[-1][1])


def test_a_message_for_slack(server):
    """Escaped as https://api.slack.com/reference/surfaces/formatting#escaping asks; at most 3000 characters."""
    message = sent(server, format="slack")
    assert message["text"] == "vowels: refused"
    (block,) = message["blocks"]
    text = block["text"]["text"]
    assert (block["type"], block["text"]["type"]) == ("section", "mrkdwn")
    assert text.split("\n")[:5] == [
        "*vowels: refused*",
        "<https://models.example.org/20260401-030000-114270.html?a=1&amp;b=2|Report>",
        "accuracy: 0.91 (published: 0.9346)",
        "pr_auc: nan",
        "refused: accuracy &lt;b&gt; &amp; more",
    ]
    assert text.endswith("plan: due: 3 new spans\nrun: 20260401-030000-114270\nhost: night")
    assert len(text) < 3000


def test_a_message_for_teams(server):
    """An Adaptive Card in the envelope of a workflow's webhook."""
    message = sent(server, format="teams")
    (attachment,) = message["attachments"]
    assert (message["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    card = attachment["content"]
    assert card["type"] == "AdaptiveCard"
    title, facts = card["body"]
    assert title["text"] == "vowels: refused"
    assert {"title": "accuracy", "value": "0.91 (published: 0.9346)"} in facts["facts"]
    (action,) = card["actions"]
    assert (action["type"], action["url"]) == (
        "Action.OpenUrl",
        "https://models.example.org/20260401-030000-114270.html?a=1&b=2",
    )


def test_a_signature_is_that_of_the_message(server, monkeypatch):
    monkeypatch.setenv("SECRET", "key")
    sent(server, format="slack", secret_env="SECRET")
    headers, body = server.requests[-1]
    assert headers[SIGNATURE_HEADER] == "sha256=" + hmac.new(b"key", body, hashlib.sha256).hexdigest()
