"""Notifications by e-mail, over SMTP: text, HTML and a picture of the training in one message.

>>> problem = send_email(config.retraining.notify.email, content, link=None)  # doctest: +SKIP
>>> problem  # doctest: +SKIP
'email at mail.example.org: SMTPAuthenticationError: 535 …'
"""

from __future__ import annotations

import html
import logging
import os
import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any

from noisy_gru.pipeline.config.retraining_config import EmailConfig
from noisy_gru.pipeline.retrain.notification_messages import facts, headline
from noisy_gru.schema.durations import parse_duration

logger = logging.getLogger(__name__)


def send_email(config: EmailConfig, content: Mapping[str, Any], link: str | None) -> str | None:
    """Send a notification; return the error, or None.

    Args:
        config: server and addresses.
        content: of the notification.
        link: to the report.
    """
    password = None
    if config.password_env is not None:
        password = os.environ.get(config.password_env)
        if not password:
            return f"email: expected the password in the environment variable {config.password_env}, which is not set"
    message = email_message(config, content, link, _picture(content) if config.picture else None)
    try:
        _send(config, message, password)
    except (OSError, smtplib.SMTPException, ssl.CertificateError) as error:
        # A server may repeat what it was given.
        text = str(error) if password is None else str(error).replace(password, "…")
        return f"email at {config.host}: {type(error).__name__}: {text}"
    return None


def _send(config: EmailConfig, message: EmailMessage, password: str | None) -> None:
    seconds = parse_duration(config.timeout).total_seconds()
    # Checks the server's certificate.
    context = ssl.create_default_context()
    if config.security == "tls":
        client: smtplib.SMTP = smtplib.SMTP_SSL(config.host, config.port, timeout=seconds, context=context)
    else:
        client = smtplib.SMTP(config.host, config.port, timeout=seconds)
    with client:
        if config.security == "starttls":
            client.starttls(context=context)
        if config.user is not None and password is not None:
            client.login(config.user, password)
        refused = client.send_message(message)
    if refused:
        raise smtplib.SMTPRecipientsRefused(refused)


def email_message(
    config: EmailConfig, content: Mapping[str, Any], link: str | None, picture: bytes | None
) -> EmailMessage:
    """Return the message: plain text, and HTML with the picture in it."""
    # A line end in a name must not begin another header.
    title = " ".join(headline(content).split())
    rows = [*facts(content), *([("report", link)] if link else [])]
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = title, config.sender, ", ".join(config.to)
    message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain="noisy-gru.invalid")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join([title, "", *(f"{name}: {value}" for name, value in rows), ""]))
    picture_id = make_msgid(domain="noisy-gru.invalid")
    parts = [f"<h2>{html.escape(title)}</h2>", "<table>"]
    parts += [f"<tr><th align=left>{html.escape(name)}</th><td>{_cell(value, link)}</td></tr>" for name, value in rows]
    parts.append("</table>")
    if picture is not None:
        parts.append(f'<p><img src="cid:{picture_id[1:-1]}" alt="loss and metrics of the training by epoch"></p>')
    message.add_alternative(f"<html><body>{''.join(parts)}</body></html>", subtype="html")
    if picture is not None:
        payload: Any = message.get_payload()
        payload[1].add_related(picture, "image", "png", cid=picture_id, disposition="inline", filename="training.png")
    return message


def _cell(value: str, link: str | None) -> str:
    text = html.escape(value)
    return f'<a href="{text}">{text}</a>' if value == link else text


def _picture(content: Mapping[str, Any]) -> bytes | None:
    """Return a picture of the run's training; None if there was none. Without it the message is sent all the same."""
    from noisy_gru.pipeline.report.artifacts import AbsentError, Artifacts
    from noisy_gru.pipeline.report.picture import history_picture
    from noisy_gru.pipeline.report.training_account import read_history
    from noisy_gru.pipeline.runs.run_record import RunRecord

    if not content.get("record"):
        return None
    path = Path(str(content["record"]))
    try:
        record = RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
        folder = Artifacts(record, path.parent.parent).folder("Trainer", "model_run")
        return history_picture(read_history(folder / "history.csv"), record.run_id)
    except AbsentError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("the e-mail has no picture of the training: %s", error)
        return None
