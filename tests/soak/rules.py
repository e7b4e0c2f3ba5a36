"""What the rules of config.yaml call for, reckoned anew from what is delivered, served and tried.

>>> due = expected(Situation(window={1: 1, 2: 1}, served={0: 1, 1: 1}, age=timedelta(days=1), last=None), drifted=False)
>>> due.triggers, due.is_due
(set(), False)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

NEW_SPANS = 2
MAX_AGE = timedelta(days=9, hours=12)


@dataclass(frozen=True)
class Attempt:
    """A retraining that ended.

    Attributes:
        status: ``published``, ``refused`` or ``failed``.
        window: what it was trained on: versions by span.
        version: that was published.
    """

    status: str
    window: Mapping[int, int]
    version: int | None


@dataclass(frozen=True)
class Situation:
    """Before a retraining.

    Attributes:
        window: what it would train on: versions by span.
        served: what the newest version was trained on; None: there is none.
        age: of the newest version; None: it is from the future.
        last: the attempt before.
        withdrawn: versions that were taken back.
    """

    window: Mapping[int, int]
    served: Mapping[int, int] | None
    age: timedelta | None
    last: Attempt | None
    withdrawn: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Expected:
    """What follows.

    Attributes:
        triggers: that are met.
        guards: that postpone it.
    """

    triggers: set[str]
    guards: set[str]

    @property
    def is_due(self) -> bool:
        return bool(self.triggers) and not self.guards


def expected(now: Situation, *, drifted: bool) -> Expected:
    """What the rules call for, where drift is as the plan measured it."""
    triggers, guards = {"drift"} if drifted else set(), set()
    new = {span for span, version in now.window.items() if (now.served or {}).get(span) != version}
    if now.served is None:
        triggers.add("first_model")
    if len(new) >= NEW_SPANS:
        triggers.add("new_spans")
    if now.served is not None and new and (now.age is None or now.age >= MAX_AGE):
        triggers.add("max_age")
    last = now.last
    if last is not None and last.window == now.window:
        taken_back = last.status == "published" and last.version in now.withdrawn
        if last.status == "refused" or taken_back:
            guards.add("after_refusal")
    return Expected(triggers, guards)
