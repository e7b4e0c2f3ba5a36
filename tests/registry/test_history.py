"""The history of a model's versions: lines that are only added, read whatever a kill left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from noisy_gru.registry.history import HISTORY, Event, append_event, last_actions, read_history

FIRST = Event("2026-01-02T03:04:05+00:00", "publish", 100, None, 100, 100)
SECOND = Event("2026-01-03T03:04:05+00:00", "rollback", 100, 100, 50, 50, 'drift: "späte"\nSchicht\u2028')


def test_events_come_back_as_lines_of_json(tmp_path: Path) -> None:
    assert read_history(tmp_path) == []
    append_event(tmp_path, FIRST)
    append_event(tmp_path, SECOND)
    assert read_history(tmp_path) == [FIRST, SECOND]
    lines = (tmp_path / HISTORY).read_text().split("\n")
    assert (len(lines), lines[2]) == (3, "")
    assert json.loads(lines[1]) == {
        "at": "2026-01-03T03:04:05+00:00",
        "action": "rollback",
        "version": 100,
        "previous": 100,
        "newest": 50,
        "stable": 50,
        "reason": 'drift: "späte"\nSchicht\u2028',
        "identity": "",
    }


@pytest.mark.parametrize("cut", [1, 2, 10, 60, 90])
def test_after_a_line_that_was_cut_off_the_next_one_is_read(cut: int, tmp_path: Path) -> None:
    append_event(tmp_path, FIRST)
    append_event(tmp_path, SECOND)
    file = tmp_path / HISTORY
    file.write_bytes(file.read_bytes()[:-cut])
    left = read_history(tmp_path)
    # Without its end of line alone, a line is whole.
    assert left == ([FIRST, SECOND] if cut == 1 else [FIRST])
    append_event(tmp_path, SECOND)
    assert read_history(tmp_path) == [*left, SECOND]


@pytest.mark.parametrize(
    "line",
    [
        *("", "{", "[]", "3", '"at"', "null", "\x00\x00", "{}", '{"at": "x", "action": "publish"}'),
        '{"at": "x", "action": "explode", "version": 1}',
        '{"at": "x", "action": "publish", "version": "1"}',
        '{"at": 3, "action": "publish", "version": 1}',
        '{"at": "x", "action": "publish", "version": 1, "stable": "a"}',
    ],
)
def test_what_is_no_event_is_passed_over(line: str, tmp_path: Path) -> None:
    append_event(tmp_path, FIRST)
    with (tmp_path / HISTORY).open("a") as file:
        file.write(line + "\n")
    append_event(tmp_path, SECOND)
    assert read_history(tmp_path) == [FIRST, SECOND]


def test_bytes_that_are_no_text_and_keys_of_a_later_version(tmp_path: Path) -> None:
    (tmp_path / HISTORY).write_bytes(b'\xff\xfe\n{"at": "x", "action": "promote", "version": 1, "by": "me"}\n')
    assert read_history(tmp_path) == [Event("x", "promote", 1)]


def test_a_promotion_does_not_say_where_a_version_is() -> None:
    assert last_actions([FIRST, Event("x", "promote", 100)]) == {100: FIRST}
    assert last_actions([FIRST, SECOND]) == {100: SECOND}
