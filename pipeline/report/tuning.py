"""The Tuner's trials, ranked on eval as `noisy-gru compare` ranks variants."""

from __future__ import annotations

import json
from typing import Any

from noisy_gru.pipeline.report.artifacts import AbsentError, Artifacts
from noisy_gru.pipeline.report.blocks import Block, Facts, Table

_FILE = "tuner_results.json"
_NOTE = (
    "One training each, so differences have no intervals, and the best of many is in part luck: "
    "noisy-gru compare --vary KEY=A,B --seeds 5 says which of them can be told from chance."
)


def tuning_account(artifacts: Artifacts, examples: bool) -> dict[str, Any] | None:
    """Return the trials in the order of their score, the chosen one first; None for a run without a Tuner.

    Raises:
        AbsentError: the run ended before the Tuner did, or its artifact is gone.
    """
    steps = {step.name for step in artifacts.record.steps}
    if "Tuner" not in steps:
        return None
    file = artifacts.folder("Tuner", "tuner_results") / _FILE
    try:
        # The best trial first, as keras-tuner has ordered them.
        results = json.loads(file.read_text(encoding="utf-8"))
        trials = [
            {
                "trial": int(each["trial_id"]) + 1,
                "score": float(each["score"]),
                "values": {name: value for name, value in each.items() if name not in ("trial_id", "score")},
            }
            for each in results
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AbsentError(f"Nothing to show: {file} can't be read: {type(error).__name__}: {error}") from error
    config = artifacts.config().trainer
    stopping = config.training.early_stopping
    watched = stopping is not None and stopping.monitor.startswith("val_")
    metric = stopping.monitor if stopping is not None and watched else "val_loss"
    return {"metric": metric, "epochs": config.tuner.epochs, "trials": trials}


def tuning_blocks(tuning: dict[str, Any]) -> list[Block]:
    """Return what was tried, and with what result."""
    trials = tuning["trials"]
    names = list(trials[0]["values"]) if trials else []
    rows = [
        (rank, each["trial"], each["score"], *(each["values"].get(name) for name in names))
        for rank, each in enumerate(trials, start=1)
    ]
    facts = Facts([("trials", len(trials)), ("most epochs of a trial", tuning["epochs"])])
    columns = ["rank", "trial", tuning["metric"], *(name.replace("_", " ") for name in names)]
    return [facts, Table("Trials; the first one is chosen", columns, rows, _NOTE)]
