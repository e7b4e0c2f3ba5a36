"""The decision whether to retrain, with the verdict of every rule in words and numbers.

>>> plan = decide(rules, data, evidence, now=now)  # doctest: +SKIP
>>> plan.retrain, plan.summary  # doctest: +SKIP
(True, 'due: 2 new spans (10-11), at least 1 asked for')
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console

FORMAT = 1
FIRST = "first_model"
Kind = Literal["trigger", "brake", "alarm", "order"]


@dataclass(frozen=True, kw_only=True)
class Reason:
    """The verdict of one rule.

    Attributes:
        rule: its key below ``retraining.rules``; or ``first_model``, ``force``.
        kind: a trigger calls for retraining, a brake holds it back, an alarm asks for a person, an order is a person's.
        met: whether it does.
        text: why or why not, in words.
        numbers: what it was decided by.
    """

    rule: str
    kind: Kind
    met: bool
    text: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_off(self) -> bool:
        """Whether the configuration leaves the rule out."""
        return bool(self.numbers.get("off"))

    @property
    def verdict(self) -> tuple[str, str]:
        """A colour and a word."""
        if self.kind == "alarm":
            return ("red", "alarm") if self.met else ("dim", "off" if self.is_off else "quiet")
        if self.kind == "brake":
            return ("yellow", "holds") if self.met else ("dim", "free")
        if self.met:
            return "green", "ordered" if self.kind == "order" else "met"
        return "dim", "off" if self.is_off else "not met"


@dataclass(frozen=True, kw_only=True)
class RetrainPlan:
    """Whether to retrain, and why or why not.

    Attributes:
        pipeline: its name.
        retrain: the decision.
        held: whether it would be due, but for an alarm: a person has to look.
        reasons: of all rules.
        spans: to train on, such as ``3-9``; empty where the patterns have no ``{SPAN}``.
        newest_span: of them.
        new_spans: those that the published model wasn't trained on, or that changed since.
        base_version: the published model that was compared with; None: there is none.
        data: fingerprint of the files to train on; equal files give an equal one.
        decided_at: in ISO 8601, UTC.
    """

    pipeline: str
    retrain: bool
    reasons: tuple[Reason, ...]
    spans: str
    newest_span: int | None
    new_spans: tuple[int, ...]
    base_version: int | None
    data: str
    decided_at: str
    held: bool = False

    @property
    def summary(self) -> str:
        """One line: what called for it, or what was missing or held it back."""
        called = [reason for reason in self.reasons if reason.kind == "trigger" and reason.met]
        # What a first model is trained on is new, too, which goes without saying.
        triggers = [reason.text for reason in called if reason.rule == FIRST] or [reason.text for reason in called]
        brakes = [reason.text for reason in self.reasons if reason.kind == "brake" and reason.met]
        if any(reason.kind == "order" and reason.met for reason in self.reasons):
            due = triggers and not brakes
            return f"ordered; due besides: {'; '.join(triggers)}" if due else "ordered"
        if self.retrain:
            return f"due: {'; '.join(triggers)}"
        if self.held:
            alarms = [reason.text for reason in self.reasons if reason.kind == "alarm" and reason.met]
            text = f"held for a person: {'; '.join(alarms)} (called for by: {'; '.join(triggers)})"
            return f"{text}. Correct the data, or train on it all the same: noisy-gru retrain run --force"
        if triggers:
            return f"held back: {'; '.join(brakes)} (called for by: {'; '.join(triggers)})"
        asked = [
            reason
            for reason in self.reasons
            if reason.kind == "trigger" and not reason.is_off and not reason.numbers.get("no_data")
        ]
        return f"not due: {'; '.join(dict.fromkeys(reason.text for reason in asked)) or 'no trigger is set'}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"format": FORMAT, **asdict(self), "summary": self.summary}

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def table(self, console: Console) -> None:
        """Shows it to a person: every rule with its verdict, then the decision."""
        from rich import box
        from rich.markup import escape
        from rich.table import Table

        base = "nothing yet" if self.base_version is None else f"version {self.base_version}"
        data = f"spans {self.spans}" if self.spans else "all files"
        console.print(f"[bold]{escape(self.pipeline)}[/]  published: {base}  data: {data}", highlight=False)
        table = Table("rule", "verdict", "why", box=box.SIMPLE_HEAD, pad_edge=False)
        for reason in self.reasons:
            colour, word = reason.verdict
            table.add_row(reason.rule, f"[{colour}]{word}[/]", escape(reason.text))
        console.print(table, highlight=False)
        colour, word = ("green", "retrain") if self.retrain else ("red", "held") if self.held else ("yellow", "no")
        console.print(f"[bold {colour}]{word}[/]  {escape(self.summary)}", highlight=False)
