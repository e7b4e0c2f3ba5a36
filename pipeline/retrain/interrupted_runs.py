"""Retrainings that were cut off: killed, which nobody could record, or interrupted, so that they can go on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.retrain.retraining_report import OUTCOMES
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.registry.retraining_attempts import Attempt, append_attempt, is_open, outcomes, read_attempts

KILLED = "the process ended without a word (killed, out of memory, or the machine went down)"
# How often the same data is trained on again after a kill, before the rules are asked as after any other failure.
GOES_ON = 1


@dataclass(frozen=True, kw_only=True)
class ResumableRun:
    """A retraining to go on with.

    Attributes:
        run_id: of the run that was cut off.
        newest_span: as ``run_config`` takes it.
        spans: that it trains on.
        data: fingerprint of the files.
    """

    run_id: str
    newest_span: str
    spans: str
    data: str


def close_open_attempts(directory: RunDirectory, model: str, *, now: datetime, why: str = KILLED) -> list[Attempt]:
    """Records how the retrainings ended that have no end; called with the locks held, so none of them goes on.

    Args:
        directory: the root.
        model: the model's name.
        now: the time.
        why: they ended so, as far as is known.

    Returns:
        What was recorded as failed, of which nobody has been told.
    """
    model_dir = directory.serving / model
    attempts = read_attempts(model_dir)
    records = {record.run_id: record for record in directory.records()}
    failed = []
    for run_id in dict.fromkeys(attempt.run_id for attempt in attempts):
        if not is_open(attempts, run_id):
            continue
        begun = [attempt for attempt in attempts if attempt.run_id == run_id][-1]
        record = records.get(run_id)
        # The run may have ended, and what was killed is only what should have recorded it.
        outcome = OUTCOMES.get(record.status) if record else None
        event = outcome if outcome in ("published", "refused", "interrupted") else "failed"
        end = Attempt(
            at=now.astimezone(UTC).isoformat(timespec="seconds"),
            event=event,
            run_id=run_id,
            spans=begun.spans,
            data=begun.data,
            version=record.version if record and event == "published" else None,
            reason=record.error or why if record and record.status == "failed" else why,
        )
        append_attempt(model_dir, end)
        if event == "failed":
            failed.append(end)
    return failed


def run_to_resume(directory: RunDirectory, config: PipelineConfig) -> ResumableRun | None:
    """The retraining that was cut off and is to be run again before anything else is decided.

    It is the newest run of the pipeline, was interrupted or killed, and is not killed again and again: a run that no
    memory suffices for would keep all newer data out. After a kill the rules have to allow it (`after_failure: retry`).
    """
    # Other pipelines may have their runs under the same root.
    record = next((each for each in reversed(directory.records()) if each.pipeline == config.name), None)
    attempts = read_attempts(directory.serving / config.model_name)
    past = outcomes(attempts)
    if record is None or not past or past[-1].run_id != record.run_id:
        return None
    last = past[-1]
    if record.status == "killed":
        if config.retraining.rules.after_failure != "retry" or _kills_in_a_row(directory, attempts) > GOES_ON:
            return None
    elif last.event != "interrupted":
        return None
    begun = [attempt for attempt in attempts if attempt.run_id == last.run_id and attempt.event == "started"][-1]
    newest = begun.spans.replace("-", ",").rsplit(",", 1)[-1] or "latest"
    return ResumableRun(run_id=last.run_id, newest_span=newest, spans=begun.spans, data=begun.data)


def unfinished(directory: RunDirectory, config: PipelineConfig) -> bool:
    """Whether a retraining was cut off and is to be gone on with; takes no lock and changes nothing."""
    return run_to_resume(directory, config) is not None


def _kills_in_a_row(directory: RunDirectory, attempts: list[Attempt]) -> int:
    """How many of the last retrainings were killed on the data of the last one."""
    states = {record.run_id: record.status for record in directory.records()}
    past = list(reversed(outcomes(attempts)))
    data = past[0].data
    return sum(1 for _ in takewhile(lambda each: states.get(each.run_id) == "killed" and each.data == data, past))
