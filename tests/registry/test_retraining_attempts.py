from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from noisy_gru.registry.retraining_attempts import (
    ATTEMPTS,
    Attempt,
    append_attempt,
    close_attempt,
    is_open,
    outcomes,
    read_attempts,
)

THREE = datetime(2026, 4, 1, 3, tzinfo=UTC)


def _attempt(event: str, run: str, hours: float = 0, **more) -> Attempt:
    at = (THREE + timedelta(hours=hours)).isoformat(timespec="seconds")
    return Attempt(at=at, event=event, run_id=run, **more)  # type: ignore[arg-type]


def test_what_was_added_is_read_again_in_order(tmp_path):
    model_dir = tmp_path / "serving" / "vowels"
    events = [
        _attempt("started", "a", spans="1-3", data="d1", reason="2 new spans (2-3)"),
        _attempt("published", "a", 1, version=7),
        _attempt("started", "b", 24, spans="1-4", data="d2"),
    ]
    for event in events:
        append_attempt(model_dir, event)
    assert read_attempts(model_dir) == events
    assert [json.loads(line)["event"] for line in (model_dir / ATTEMPTS).read_text().splitlines()] == [
        "started",
        "published",
        "started",
    ]


def test_there_are_none_before_the_first(tmp_path):
    assert read_attempts(tmp_path / "vowels") == []


def test_a_line_that_a_kill_cut_off_is_passed_over_and_the_next_stands_on_its_own(tmp_path):
    append_attempt(tmp_path, _attempt("started", "a"))
    with (tmp_path / ATTEMPTS).open("a") as file:
        file.write('{"at": "2026-04-01T04:00:00+00:00", "event": "publ')
    append_attempt(tmp_path, _attempt("started", "b", 24))
    assert [each.run_id for each in read_attempts(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    "line",
    [
        "[1, 2]",
        '{"at": "2026-04-01T04:00:00+00:00", "event": "begun", "run_id": "a"}',
        '{"at": "2026-04-01T04:00:00", "event": "started", "run_id": "a"}',
        '{"at": "yesterday", "event": "started", "run_id": "a"}',
        '{"at": "2026-04-01T04:00:00+00:00", "event": "started", "run_id": 7}',
        '{"at": "2026-04-01T04:00:00+00:00", "event": "published", "run_id": "a", "version": "7"}',
        '{"event": "started", "run_id": "a"}',
    ],
)
def test_what_is_no_event_is_left_out(tmp_path, line):
    (tmp_path / ATTEMPTS).write_text(f"{line}\n{json.dumps(vars(_attempt('failed', 'b')))}\n")
    assert [each.run_id for each in read_attempts(tmp_path)] == ["b"]


def test_a_beginning_without_an_end_is_a_failure():
    (first, second) = outcomes(
        [
            _attempt("started", "a", data="d1"),
            _attempt("refused", "a", 1, reason="accuracy is lower"),
            _attempt("started", "b", 24, data="d2"),
        ]
    )
    assert (first.event, first.reason, first.ended) == ("refused", "accuracy is lower", THREE + timedelta(hours=1))
    assert (second.event, second.ended, second.data) == ("failed", None, "d2")
    assert "no recorded end" in second.reason


def test_runs_side_by_side_are_told_apart_and_the_run_that_asks_is_left_out():
    events = [
        _attempt("started", "a"),
        _attempt("started", "b", 1),
        _attempt("published", "a", 2, version=3),
        _attempt("failed", "b", 3, reason="disk full"),
        _attempt("started", "c", 4),
    ]
    assert [(each.run_id, each.event, each.version) for each in outcomes(events, but="c")] == [
        ("a", "published", 3),
        ("b", "failed", None),
    ]


def test_a_run_that_began_again_is_one_attempt_with_the_last_beginning():
    (only,) = outcomes([_attempt("started", "a"), _attempt("interrupted", "a", 1), _attempt("started", "a", 5)])
    assert (only.event, only.started) == ("failed", THREE + timedelta(hours=5))


def test_an_end_without_a_beginning_is_no_attempt():
    assert outcomes([_attempt("published", "a", version=1)]) == []


def test_only_an_open_retraining_is_closed(tmp_path):
    close_attempt(tmp_path / "vowels", "by-hand", "published", THREE, version=1)
    assert not (tmp_path / "vowels").exists()
    append_attempt(tmp_path, _attempt("started", "a"))
    assert is_open(read_attempts(tmp_path), "a")
    close_attempt(tmp_path, "b", "refused", THREE)
    close_attempt(tmp_path, "a", "published", THREE + timedelta(minutes=5), version=9)
    close_attempt(tmp_path, "a", "failed", THREE + timedelta(minutes=6))
    last = read_attempts(tmp_path)[-1]
    assert len(read_attempts(tmp_path)) == 2
    assert (last.event, last.run_id, last.version, last.at) == ("published", "a", 9, "2026-04-01T03:05:00+00:00")


def test_attempts_come_in_the_order_of_their_lines_whatever_the_clock_said():
    events = [
        _attempt("started", "future", 24 * 365 * 7),
        _attempt("failed", "future", 24 * 365 * 7),
        _attempt("started", "now"),
        _attempt("published", "now", 1, version=3),
    ]
    assert [each.run_id for each in outcomes(events)] == ["future", "now"]
