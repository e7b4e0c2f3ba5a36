"""Verdict on the reference set, and its file beside the blessing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

VERDICT_FILE = "verdict.json"


@dataclass(frozen=True, kw_only=True)
class ReferenceVerdict:
    """Result of a comparison on the reference set.

    Attributes:
        accepted: whether the model may be published.
        text: in words.
        metric: ``accuracy`` or ``mae``.
        new: of the new model.
        published: of the published one; None: there is none to compare with.
        fall: how much worse the new one is, in accuracy or as a part of the published one's error.
        most: upper bound of that at the confidence.
        margin: how much it may be.
        sequences: compared on.
        clusters: of them that are independent of each other.
    """

    accepted: bool
    text: str
    metric: str
    new: float
    published: float | None = None
    fall: float | None = None
    most: float | None = None
    margin: float
    sequences: int
    clusters: int


def write_reference_verdict(folder: Path, verdict: ReferenceVerdict) -> None:
    """Write it."""
    (folder / VERDICT_FILE).write_text(json.dumps(asdict(verdict), indent=1) + "\n", encoding="utf-8")


def read_reference_verdict(folder: Path) -> ReferenceVerdict:
    """Read the verdict from the step's blessing."""
    return ReferenceVerdict(**json.loads((folder / VERDICT_FILE).read_text(encoding="utf-8")))
