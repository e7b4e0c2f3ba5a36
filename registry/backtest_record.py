"""The last backtest of a configuration, which a gate may ask for.

record.write(root)                          # <root>/backtest/<key>.json, by `noisy-gru backtest`
backtest_problem(folder, gate, now=now)     # "" if the model may be published, by the Pusher
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.storage.atomic_files import write_atomically
from noisy_gru.trainer.config import TrainerConfig

FOLDER = "backtest"  # under the root of the runs, beside serving/
_FORMAT = 1


@dataclass(frozen=True)
class Gain:
    """How much better the model was than a baseline, over all folds and horizons.

    Attributes:
        metric: with its target, `mae/load`.
        against: the baseline.
        difference: its error minus the model's; None where there was nothing to compare.
        lower: bound of the difference, one-sided.
    """

    metric: str
    against: str
    difference: float | None
    lower: float | None


@dataclass(frozen=True)
class BacktestRecord:
    """The outcome of a backtest.

    Attributes:
        at: when it ended, in ISO 8601 with a zone.
        key: of the configuration, see ``backtest_key``.
        confidence: of each bound.
        gains: by target and baseline.
    """

    at: str
    key: str
    confidence: float
    gains: list[Gain]

    def write(self, root: Path) -> Path:
        """Write the record under a root of runs, in the place of an earlier one; return the file."""
        file = root / FOLDER / f"{self.key}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps({"format": _FORMAT, **asdict(self)}, indent=1) + "\n")
        return file


@dataclass(frozen=True)
class BacktestGate:
    """What a model's backtest has to show.

    Attributes:
        key: of the configuration.
        must_beat: baselines.
        max_age_days: how old the backtest may be.
    """

    key: str
    must_beat: Sequence[str]
    max_age_days: float

    def to_json(self) -> str:
        """Return what ``from_json`` reads."""
        return json.dumps({**asdict(self), "must_beat": list(self.must_beat)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> BacktestGate | None:
        """Read a gate; None of an empty text."""
        return cls(**json.loads(text)) if text else None


def backtest_key(dataset: DatasetConfig, trainer: TrainerConfig) -> str:
    """Return a hash of what a backtest's forecasts depend on, 12 hex digits: not of thresholds or servers."""
    content = json.dumps([dataset.model_dump(mode="json"), trainer.model_dump(mode="json")], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def backtest_problem(folder: Path, gate: BacktestGate, *, now: datetime) -> str:
    """Return why a model may not be published; empty if its backtest beat the baselines.

    Args:
        folder: with the records of the root.
        gate: what is asked for.
        now: the time, with a zone.
    """
    again = f"Run noisy-gru backtest CONFIG --root {folder.parent}, with --baseline for each fitted one"
    file = folder / f"{gate.key}.json"
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']}")
        at, confidence = datetime.fromisoformat(content["at"]), content["confidence"]
        gains = [Gain(**each) for each in content["gains"]]
    except FileNotFoundError:
        return f"evaluation.backtest: there is no backtest of this configuration ({file}). {again}"
    except (OSError, KeyError, TypeError, ValueError) as error:
        return f"evaluation.backtest: {file} can't be read: {error!r}. {again}"
    days = (now - at).total_seconds() / 86400
    if days > gate.max_age_days:
        return (
            f"evaluation.backtest: the backtest is {days:.3g} days old, at most {gate.max_age_days:g} are allowed "
            f"(max_age_days). {again}"
        )
    problems = []
    for name in gate.must_beat:
        found = [each for each in gains if each.against == name]
        if not found:
            known = ", ".join(dict.fromkeys(each.against for each in gains)) or "nothing"
            problems.append(f"it was not compared with {name}, only with {known}. {again}")
        problems += [
            f"{each.metric} is {_amount(each.difference)} better than {name}, and the bound at {confidence:.0%} is "
            f"{_amount(each.lower)}: expected one above 0"
            for each in found
            if each.lower is None or each.lower <= 0
        ]
    return f"evaluation.backtest of {content['at']}: {'; '.join(problems)}" if problems else ""


def _amount(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
