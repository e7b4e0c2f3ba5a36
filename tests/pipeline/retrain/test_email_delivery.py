"""E-mails as an SMTP server takes them: parts, fields, the picture, encryption; and what never reaches a log."""

from __future__ import annotations

import base64
import email
import email.policy
import logging
import re
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from noisy_gru.pipeline.config.retraining_config import NotifyConfig
from noisy_gru.pipeline.retrain.notification_messages import facts, headline
from noisy_gru.pipeline.retrain.notifications import notify
from tests.pipeline.tracking.tracked_run import run_of
from tests.serving.client.certificates import identity

PASSWORD = "correct horse"
ADDRESSES = {"from": "Models <models@example.org>", "to": ["a@example.org", "b@example.org"]}
PNG = b"\x89PNG\r\n\x1a\n"


class Mail(socketserver.ThreadingTCPServer):
    """Speaks as much of SMTP (RFC 5321, RFC 4954) as a client needs, and keeps what it is given."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None, *, starttls: bool = False):
        super().__init__(("127.0.0.1", 0), _Session)
        self.tls, self.starttls = tls, starttls
        self.messages: list[tuple[list[str], EmailMessage]] = []
        self.logins: list[tuple[str, bool]] = []
        self.refused: set[str] = set()

    def get_request(self) -> Any:
        connection, address = super().get_request()
        if self.tls is not None and not self.starttls:
            connection = self.tls.wrap_socket(connection, server_side=True)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that trusts no certificate goes away."""


class _Session(socketserver.StreamRequestHandler):
    server: Mail

    def log(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def handle(self) -> None:
        self.log("220 here")
        self.handle_lines(encrypted=self.server.tls is not None and not self.server.starttls)

    def handle_lines(self, *, encrypted: bool) -> None:
        recipients: list[str] = []
        while line := self.rfile.readline().decode().strip():
            verb = line.upper().partition(" ")[0]
            if verb == "EHLO":
                for extension in ("250-here", *(["250-STARTTLS"] if self.server.starttls and not encrypted else [])):
                    self.log(extension)
                self.log("250 AUTH PLAIN")
            elif verb == "STARTTLS" and self.server.tls is not None:
                self.log("220 go on")
                with self.server.tls.wrap_socket(self.request, server_side=True) as self.request:
                    self.setup()
                    self.handle_lines(encrypted=True)
                return
            elif verb == "AUTH":
                given = base64.b64decode(line.split()[2]).decode()
                self.server.logins.append((given, encrypted))
                right = given == f"\0user\0{PASSWORD}"
                self.log("235 welcome" if right else f"535 what you sent was {given.split(chr(0))[2]}")
            elif verb == "RCPT":
                address = re.findall(r"<(.*?)>", line)[0]
                recipients.append(address)
                self.log("550 nobody of this name" if address in self.server.refused else "250 yes")
            elif verb == "DATA":
                self.log("354 go on")
                lines = []
                while (part := self.rfile.readline()) != b".\r\n":
                    lines.append(part.removeprefix(b".") if part.startswith(b"..") else part)
                message: Any = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                self.server.messages.append((recipients, message))
                self.log("250 taken")
            elif verb == "QUIT":
                self.log("221 bye")
                return
            else:
                self.log("250 yes")


@pytest.fixture
def serve() -> Iterator[Callable[..., Mail]]:
    servers: list[Mail] = []

    def start(*arguments: Any, **options: Any) -> Mail:
        servers.append(Mail(*arguments, **options))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def config(server: Mail, **email_settings: Any) -> NotifyConfig:
    settings = {"host": "127.0.0.1", "port": server.server_address[1], "security": "none", **ADDRESSES}
    url = "https://models.example.org/runs/{run_id}.html"
    return NotifyConfig.model_validate({"report_url": url, "email": settings | email_settings})


def content_of(folder: Path) -> dict[str, Any]:
    directory, record = run_of(folder)
    return {
        "pipeline": "odd\r\nBcc: everyone@example.org",
        "status": "published",
        "version": 17,
        "run_id": record.run_id,
        "record": str(directory.runs / f"{record.run_id}.json"),
        "metrics": {"accuracy": 0.875},
        "previous": {"accuracy": 0.5},
        "refusals": ["<script>alert(1)</script>"],
        "host": "here",
    }


def test_text_html_and_the_picture(tmp_path: Path, serve: Any) -> None:
    server, content = serve(), content_of(tmp_path)
    (delivery,) = notify(config(server), "success", content)
    assert (delivery.hook, delivery.error) == ("email", None)
    ((recipients, message),) = server.messages
    assert recipients == ADDRESSES["to"]
    assert message["Bcc"] is None
    assert message["Subject"] == " ".join(headline(content).split())
    assert message["From"] == ADDRESSES["from"]
    assert message["Date"] and message["Message-ID"]
    text, page = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None and page is not None
    lines = text.get_content().splitlines()
    link = f"https://models.example.org/runs/{content['run_id']}.html"
    # The same as Slack and Teams get.
    assert {*lines} >= {f"{name}: {value}" for name, value in facts(content)} | {f"report: {link}"}
    shown = page.get_content()
    assert "0.875 (published: 0.5)" in shown
    assert f'<a href="{link}">' in shown
    assert "<script>" not in shown and "&lt;script&gt;" in shown
    (picture,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert picture.get_content().startswith(PNG)
    assert picture.get_content_disposition() == "inline"
    assert f'src="cid:{picture["Content-ID"][1:-1]}"' in shown


def test_no_picture_where_there_is_no_training(tmp_path: Path, serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    server, content = serve(), content_of(tmp_path)
    for history in (tmp_path / "artifacts").rglob("history.csv"):
        history.write_text("torn,")
    assert notify(config(server), "success", content)[0].error is None
    assert "the e-mail has no picture of the training" in caplog.text
    assert notify(config(server), "success", content | {"record": None})[0].error is None
    assert notify(config(server, picture=False), "success", content)[0].error is None
    for _, message in server.messages:
        assert [part.get_content_type() for part in message.walk()] == [
            *("multipart/alternative", "text/plain", "text/html")
        ]


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_encrypted_with_a_checked_certificate(security, tmp_path: Path, serve: Any, monkeypatch, caplog) -> None:
    authority = identity(tmp_path, "authority")
    own = identity(tmp_path, "server", authority)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(own.certificate, own.key)
    server = serve(tls, starttls=security == "starttls")
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    login = {"security": security, "user": "user", "password_env": "MAIL_PASSWORD", "picture": False}
    content = {"pipeline": "odd", "status": "failed"}
    (delivery,) = notify(config(server, **login), "failure", content)
    assert delivery.error is not None
    assert "email at 127.0.0.1: SSLCertVerificationError" in delivery.error
    assert server.messages == [] and server.logins == []

    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with caplog.at_level(logging.DEBUG):
        (delivery,) = notify(config(server, **login), "failure", content)
        assert delivery.error is None
        assert server.logins == [(f"\0user\0{PASSWORD}", True)]
        assert len(server.messages) == 1
        monkeypatch.setenv("MAIL_PASSWORD", "wrong secret")
        (delivery,) = notify(config(server, **login), "failure", content)
    assert delivery.error is not None
    assert delivery.error.startswith("email at 127.0.0.1: SMTPAuthenticationError: (535")
    assert "wrong secret" not in delivery.error
    assert "secret" not in caplog.text and PASSWORD not in caplog.text
    monkeypatch.delenv("MAIL_PASSWORD")
    (delivery,) = notify(config(server, **login), "failure", content)
    assert delivery.error == "email: expected the password in the environment variable MAIL_PASSWORD, which is not set"


def test_a_recipient_that_is_refused_is_named(serve: Any) -> None:
    server = serve()
    server.refused = {"b@example.org"}
    (delivery,) = notify(config(server), "failure", {"pipeline": "odd", "status": "failed"})
    assert delivery.error is not None
    assert "SMTPRecipientsRefused" in delivery.error and "b@example.org" in delivery.error
    assert [recipients for recipients, _ in server.messages] == [ADDRESSES["to"]], "the other one has it"


def test_nobody_listens(serve: Any) -> None:
    server = serve()
    settings = config(server)
    server.shutdown()
    server.server_close()
    (delivery,) = notify(settings, "failure", {"pipeline": "odd", "status": "failed"})
    assert delivery.error is not None
    assert delivery.error.startswith("email at 127.0.0.1: ConnectionRefusedError")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"user": "user"}, "both user and password_env"),
        ({"user": "u", "password_env": "P", "security": "none", "host": "mail.example.org"}, "without encryption"),
        ({"from": "nobody"}, "from"),
        ({"from": "a@example.org\r\nBcc: b@example.org"}, "from"),
        ({"to": []}, "to"),
        ({"to": ["a@example.org, b@example.org\n"]}, "to"),
        ({"port": 0}, "port"),
    ],
)
def test_settings_that_can_not_be(settings, words) -> None:
    with pytest.raises(ValidationError, match=words):
        NotifyConfig.model_validate({"email": {"host": "localhost", **ADDRESSES, **settings}})
