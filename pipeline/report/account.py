"""Everything that the report of a run shows, as one JSON object.

>>> account = run_account(record, root)  # doctest: +SKIP
>>> account["outcome"]["headline"], account["evaluation"]["metrics"]["accuracy"]  # doctest: +SKIP
('Published as version 1795952780', 0.978)

A section that can't be read is null, and `notes` says why: nothing else stops. One that the run can't have is null
without a note.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from noisy_gru.pipeline.report.artifacts import AbsentError, Artifacts, plain
from noisy_gru.pipeline.report.data_account import data_account
from noisy_gru.pipeline.report.evaluation_account import evaluation_account, worst_account
from noisy_gru.pipeline.report.feature_account import feature_account
from noisy_gru.pipeline.report.gate_account import gate_account, importance_section, reference_account
from noisy_gru.pipeline.report.lineage_account import lineage_account, resources_account
from noisy_gru.pipeline.report.outcome import outcome_account, shown_error
from noisy_gru.pipeline.report.training_account import training_account
from noisy_gru.pipeline.report.tuning import tuning_account
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.schema.errors import UserError

FORMAT = 1
# Whatever a torn or foreign file makes a reader raise: its section says so.
_UNREADABLE = (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, DecodeError)
Build = Callable[[Artifacts, bool], dict[str, Any] | None]
SECTIONS: dict[str, Build] = {
    "outcome": outcome_account,
    "data": data_account,
    "features": feature_account,
    "tuning": tuning_account,
    "training": training_account,
    "evaluation": evaluation_account,
    "worst": worst_account,
    "importance": importance_section,
    "reference": reference_account,
    "gate": gate_account,
    "lineage": lineage_account,
    "resources": resources_account,
}


def run_account(record: RunRecord, root: Path, *, examples: bool | None = None) -> dict[str, Any]:
    """Return the account of a run, of values that JSON knows.

    Args:
        record: of the run.
        root: of the runs.
        examples: whether rows, sequences and names of entities may be in it; None: as the run's configuration says.
    """
    artifacts = Artifacts(record, root)
    if examples is None:
        section = record.config.get("report")
        examples = not isinstance(section, dict) or section.get("examples") is not False
    account: dict[str, Any] = {"format": FORMAT, "run": _run(record), "examples": examples}
    if record.error and not examples:
        account["run"]["error"] = shown_error(record, examples)
    notes: dict[str, str] = {}
    for name, build in SECTIONS.items():
        account[name] = section_content(name, build, artifacts, examples, notes)
    return {**account, "notes": notes}


def section_content(name: str, build: Build, artifacts: Artifacts, examples: bool, notes: dict[str, str]) -> Any:
    """Return a section, of values that JSON knows; None, and add to ``notes`` why, if it can't be read."""
    try:
        return plain(build(artifacts, examples))
    except AbsentError as absent:
        notes[name] = str(absent)
    except (UserError, *_UNREADABLE) as error:
        notes[name] = f"This part of the record can't be read: {type(error).__name__}: {error}"
    return None


def _run(record: RunRecord) -> dict[str, Any]:
    keys = {
        *("run_id", "pipeline", "status", "started", "finished", "seconds", "config_path", "overrides", "config_hash"),
        *("seed", "root", "log", "version", "published_path", "error", "replay_of", "pruned", "host"),
    }
    return record.model_dump(mode="json", include=keys)
