"""The decision whether to retrain, with the verdict of every rule and the numbers behind it.

>>> plan = decide(rules, evidence, pipeline="pumps", now=now)  # doctest: +SKIP
>>> plan.retrain, plan.summary  # doctest: +SKIP
(True, 'due: 2 new spans (10-11), at least 1 needed')
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
Kind = Literal["trigger", "guard", "alarm", "order"]


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Verdict of one rule.

    Attributes:
        rule: its key below ``retraining.rules``; or ``first_model``, ``force``.
        kind: a trigger starts a retraining, a guard postpones it, an alarm holds it for a person, an order is
            a person's.
        met: whether the rule applies.
        text: why or why not.
        numbers: behind the verdict.
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
        """Colour and label of the verdict, for a table."""
        if self.kind == "alarm":
            return ("red", "alarm") if self.met else ("dim", "off" if self.is_off else "quiet")
        if self.kind == "guard":
            return ("yellow", "postpones") if self.met else ("dim", "passes")
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
        """One line: the rules that decided."""
        called = [reason for reason in self.reasons if reason.kind == "trigger" and reason.met]
        # What a first model is trained on is new, too, which goes without saying.
        triggers = [reason.text for reason in called if reason.rule == FIRST] or [reason.text for reason in called]
        guards = [reason.text for reason in self.reasons if reason.kind == "guard" and reason.met]
        if any(reason.kind == "order" and reason.met for reason in self.reasons):
            due = triggers and not guards
            return f"ordered; due besides: {'; '.join(triggers)}" if due else "ordered"
        if self.retrain:
            return f"due: {'; '.join(triggers)}"
        if self.held:
            alarms = [reason.text for reason in self.reasons if reason.kind == "alarm" and reason.met]
            text = f"held for a person: {'; '.join(alarms)} (due by: {'; '.join(triggers)})"
            return f"{text}. Correct the data, or train on it all the same: noisy-gru retrain run --force"
        if triggers:
            return f"postponed: {'; '.join(guards)} (due by: {'; '.join(triggers)})"
        active = [
            reason
            for reason in self.reasons
            if reason.kind == "trigger" and not reason.is_off and not reason.numbers.get("no_data")
        ]
        return f"not due: {'; '.join(dict.fromkeys(reason.text for reason in active)) or 'no trigger is set'}"

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as the content of ``plan.json``."""
        return {"format": FORMAT, **asdict(self), "summary": self.summary}

    def to_json(self) -> str:
        """Return the text of ``plan.json``."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def table(self, console: Console) -> None:
        """Print a table of every rule with its verdict, then the decision."""
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
