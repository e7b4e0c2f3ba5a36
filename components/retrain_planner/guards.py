"""Guards that postpone retraining: cooldown, and back-off after failed or refused attempts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from noisy_gru.components.retrain_planner.config import RulesConfig
from noisy_gru.components.retrain_planner.evidence import Evidence
from noisy_gru.components.retrain_planner.plan import Reason
from noisy_gru.components.retrain_planner.time_text import ahead_text, is_ahead, one_line, span_of_time, utc_text
from noisy_gru.registry.retraining_attempts import Outcome
from noisy_gru.schema.durations import parse_duration


def guards(rules: RulesConfig, evidence: Evidence, now: datetime) -> Iterator[Reason]:
    """Yield the verdict of every guard."""
    # What was interrupted is to go on, not to wait.
    ended = [attempt for attempt in evidence.attempts if attempt.event != "interrupted"]
    yield _cooldown(rules, ended[-1] if ended else None, now)
    yield _after_failure(rules, evidence, now)
    yield _after_refusal(rules, evidence)


def _cooldown(rules: RulesConfig, last: Outcome | None, now: datetime) -> Reason:
    wait = parse_duration(rules.cooldown)
    numbers = {"cooldown_seconds": wait.total_seconds()}
    if not wait or last is None:
        text = "no cooldown is set" if not wait else "no attempt yet"
        return Reason(rule="cooldown", kind="guard", met=False, text=text, numbers=numbers)
    if is_ahead(last.started, now):
        text = f"the last attempt ({last.run_id}, {last.event}) began {ahead_text(last.started, now)}; not counted"
        return Reason(rule="cooldown", kind="guard", met=False, text=text, numbers=numbers)
    numbers["last_attempt_seconds"] = (now - last.started).total_seconds()
    text = f"the last attempt ({last.run_id}, {last.event}) began {span_of_time(now - last.started)} ago"
    text += f"; the cooldown is {rules.cooldown}, until {utc_text(last.started + wait)}"
    return Reason(rule="cooldown", kind="guard", met=now < last.started + wait, text=text, numbers=numbers)


def _after_failure(rules: RulesConfig, evidence: Evidence, now: datetime) -> Reason:
    failures = _failures_in_a_row(evidence.attempts)
    if not failures:
        last = evidence.attempts[-1] if evidence.attempts else None
        text = f"the last attempt ({last.run_id}) ended: {last.event}" if last else "no attempt yet"
        return Reason(rule="after_failure", kind="guard", met=False, text=text, numbers={"failures": 0})
    last, count = failures[-1], len(failures)
    numbers: dict[str, float | int | bool] = {"failures": count}
    attempt = f"{'the last attempt' if count == 1 else f'the last {count} attempts'} failed"
    attempt += f" ({last.run_id}: {one_line(last.reason) or 'no reason is known'})"
    if rules.after_failure == "retry":
        return Reason(
            rule="after_failure", kind="guard", met=False, text=f"{attempt}; retried at once", numbers=numbers
        )
    if rules.after_failure == "wait":
        same = last.data == evidence.data
        text = f"{attempt}; {'waits for other data' if same else 'there is other data now'}"
        return Reason(rule="after_failure", kind="guard", met=same, text=text, numbers={**numbers, "same_data": same})
    first, most = parse_duration(rules.retry_after), parse_duration(rules.retry_after_max)
    # Doubled no further than the most, so that a long row of failures doesn't overflow.
    wait = first
    for _ in range(count - 1):
        wait = min(wait * 2, most)
        if wait == most:
            break
    numbers["wait_seconds"] = wait.total_seconds()
    # A clock that was set back while it went on leaves its beginning.
    since = next((at for at in (last.ended, last.started) if at is not None and not is_ahead(at, now)), None)
    if since is None:
        text = f"{attempt}; it ended {ahead_text(last.ended or last.started, now)}; not waited for"
        return Reason(rule="after_failure", kind="guard", met=False, text=text, numbers=numbers)
    until = since + wait
    text = f"{attempt}; tried again {span_of_time(wait)} after, from {utc_text(until)}"
    return Reason(rule="after_failure", kind="guard", met=now < until, text=text, numbers=numbers)


def _failures_in_a_row(attempts: Sequence[Outcome]) -> list[Outcome]:
    """Return the failures since the last attempt with a verdict, oldest first; interrupted ones are neither."""
    failures: list[Outcome] = []
    for attempt in reversed(attempts):
        if attempt.event == "failed":
            failures.insert(0, attempt)
        elif attempt.event != "interrupted":
            break
    return failures


def _after_refusal(rules: RulesConfig, evidence: Evidence) -> Reason:
    last = next((each for each in reversed(evidence.attempts) if each.event != "interrupted"), None)
    taken_back = last is not None and last.event == "published" and last.version in evidence.withdrawn
    if last is None or not (last.event == "refused" or taken_back):
        text = "the last attempt wasn't refused" if last else "no attempt yet"
        return Reason(rule="after_refusal", kind="guard", met=False, text=text)
    same = last.data == evidence.data
    attempt = f"the last attempt was refused ({last.run_id}: {one_line(last.reason) or 'no reason is known'})"
    if taken_back:
        attempt = f"version {last.version}, of the last attempt ({last.run_id}), was taken back"
    if rules.after_refusal == "retry":
        text = f"{attempt}; retried at once"
    else:
        text = f"{attempt}; {'the same data would give the same model' if same else 'there is other data now'}"
    met = same and rules.after_refusal == "wait"
    return Reason(rule="after_refusal", kind="guard", met=met, text=text, numbers={"same_data": same})
