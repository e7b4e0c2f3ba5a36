"""Find retrainings that were killed or interrupted: record their end, and choose the one to resume."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.retrain.retraining_report import OUTCOMES
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.registry.retraining_attempts import Attempt, append_attempt, is_open, outcomes, read_attempts

KILLED = "the process was killed (by a signal, for lack of memory, or because the machine went down)"
# How often the same data is trained on again after a kill, before the rules decide as after any other failure.
MOST_RESUMES = 1


@dataclass(frozen=True, kw_only=True)
class ResumableRun:
    """A killed or interrupted retraining that is to be resumed.

    Attributes:
        run_id: id of its run.
        newest_span: newest span, as ``run_config`` takes it.
        spans: spans that it trains on.
        data: fingerprint of the files.
    """

    run_id: str
    newest_span: str
    spans: str
    data: str


def close_open_attempts(directory: RunDirectory, model: str, *, now: datetime, reason: str = KILLED) -> list[Attempt]:
    """Record an end for every attempt that has none. Call with the locks held, so that none of them still runs.

    Args:
        directory: root of the runs.
        model: name of the model.
        now: current time.
        reason: why they ended, where the run's record doesn't say.

    Returns:
        The attempts recorded as failed; the hooks have not been notified of them.
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
        # The run may have ended, and only the process that should have recorded it was killed.
        outcome = OUTCOMES.get(record.status) if record else None
        event = outcome if outcome in ("published", "refused", "interrupted") else "failed"
        end = Attempt(
            at=now.astimezone(UTC).isoformat(timespec="seconds"),
            event=event,
            run_id=run_id,
            spans=begun.spans,
            data=begun.data,
            version=record.version if record and event == "published" else None,
            reason=record.error or reason if record and record.status == "failed" else reason,
        )
        append_attempt(model_dir, end)
        if event == "failed":
            failed.append(end)
    return failed


def run_to_resume(directory: RunDirectory, config: PipelineConfig) -> ResumableRun | None:
    """Return the retraining to resume before anything else is decided; None if there is none.

    It is the newest run of the pipeline and was interrupted or killed. A run killed on the same data more often
    than ``MOST_RESUMES`` is not resumed: one that needs too much memory would keep newer data out. After a kill the
    rules have to allow it (`after_failure: retry`). Takes no lock and changes nothing.
    """
    # Other pipelines may have their runs under the same root.
    record = next((each for each in reversed(directory.records()) if each.pipeline == config.name), None)
    attempts = read_attempts(directory.serving / config.model_name)
    past = outcomes(attempts)
    if record is None or not past or past[-1].run_id != record.run_id:
        return None
    last = past[-1]
    if record.status == "killed":
        if config.retraining.rules.after_failure != "retry" or _kills_in_a_row(directory, attempts) > MOST_RESUMES:
            return None
    elif last.event != "interrupted":
        return None
    begun = [attempt for attempt in attempts if attempt.run_id == last.run_id and attempt.event == "started"][-1]
    newest = begun.spans.replace("-", ",").rsplit(",", 1)[-1] or "latest"
    return ResumableRun(run_id=last.run_id, newest_span=newest, spans=begun.spans, data=begun.data)


def _kills_in_a_row(directory: RunDirectory, attempts: list[Attempt]) -> int:
    """Return how many of the last retrainings in a row were killed on the data of the last one."""
    states = {record.run_id: record.status for record in directory.records()}
    past = list(reversed(outcomes(attempts)))
    data = past[0].data
    return sum(1 for _ in takewhile(lambda each: states.get(each.run_id) == "killed" and each.data == data, past))
