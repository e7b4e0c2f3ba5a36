"""Notifications as people read them, in the formats of Slack's and Teams' webhooks.

The headline says what happened; then what the metrics were before, why a model was refused, the error, and a link.

>>> headline({"pipeline": "vowels", "status": "published", "version": 7})
'vowels: published version 7'
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Slack refuses a text of more than 3000 characters.
_LONGEST, _METRICS, _REFUSALS = 600, 6, 3
Message = dict[str, Any]


def headline(content: Mapping[str, Any]) -> str:
    """Return the first line of a message."""
    version = content.get("version")
    status = str(content.get("status", ""))
    what = f"published version {version}" if status == "published" and version else status
    return f"{content['pipeline']}: {what}"


def facts(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return name and value of each further line."""
    before = content.get("previous") or {}
    found = []
    for name, value in list((content.get("metrics") or {}).items())[:_METRICS]:
        if isinstance(value, int | float):
            old = before.get(name)
            found.append((name, f"{value:.4g}" + (f" (published: {old:.4g})" if isinstance(old, int | float) else "")))
    found += [("refused", _shortened(text)) for text in (content.get("refusals") or [])[:_REFUSALS]]
    if content.get("error"):
        found.append(("error", _shortened(str(content["error"]))))
    plan = (content.get("decision") or {}).get("summary")
    if plan:
        found.append(("plan", _shortened(str(plan))))
    if content.get("run_id"):
        found.append(("run", str(content["run_id"])))
    found.append(("host", str(content.get("host", ""))))
    return found


def slack_message(content: Mapping[str, Any], link: str | None) -> Message:
    """Return the message for an incoming webhook of Slack, in its mrkdwn."""
    lines = [f"*{_slack(headline(content))}*", *([f"<{_slack(link)}|Report>"] if link else [])]
    lines += [f"{_slack(name)}: {_slack(value)}" for name, value in facts(content)]
    block = {"type": "section", "text": {"type": "mrkdwn", "text": _shortened("\n".join(lines), 2900)}}
    return {"text": headline(content), "blocks": [block]}


def teams_message(content: Mapping[str, Any], link: str | None) -> Message:
    """Return the message for a workflow of Teams: an Adaptive Card."""
    card: Message = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [
            {"type": "TextBlock", "text": headline(content), "weight": "Bolder", "size": "Medium", "wrap": True},
            {"type": "FactSet", "facts": [{"title": name, "value": value} for name, value in facts(content)]},
        ],
    }
    if link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Report", "url": link}]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _slack(text: str) -> str:
    """Escape the three characters that Slack reads as its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _shortened(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
