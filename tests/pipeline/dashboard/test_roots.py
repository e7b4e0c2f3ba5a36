"""Roots by their keys, and the next time of each."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime

import pytest

from noisy_gru.pipeline.dashboard.roots import Roots, schedule_of
from noisy_gru.pipeline.dashboard.run_rows import RunRows

NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)
STATE = '{"asked": "2026-06-10T01:00:00Z", "next": "2026-06-11T01:00:00Z"}'
CRON = {"retraining": {"schedule": {"cron": "30 3 * * *", "timezone": "Europe/Berlin"}}}


def holder(process: int, host: str) -> str:
    return f"process {process} on {host}: noisy-gru retrain schedule, since 2026-06-01 00:00 UTC"


def test_a_scheduler_that_runs_says_when(make_root):
    root = make_root()
    root.run(config=CRON)
    (root.path / "schedule.json").write_text(STATE)
    (root.path / ".schedule.lock").write_text(holder(os.getpid(), socket.gethostname()))
    found = schedule_of(root.path, RunRows(root.directory).read(), NOW)
    assert found.next == datetime(2026, 6, 11, 1, tzinfo=UTC)
    assert found.last_check == datetime(2026, 6, 10, 1, tzinfo=UTC)
    assert found.text == "a scheduler runs on this machine"


@pytest.mark.parametrize("lock", ["", holder(2**22 + 1, socket.gethostname()), holder(1, "elsewhere"), "\0", "process"])
def test_else_the_last_run_does(make_root, lock):
    root = make_root()
    root.run(config=CRON)
    (root.path / "schedule.json").write_text(STATE)
    (root.path / ".schedule.lock").write_text(lock)
    found = schedule_of(root.path, RunRows(root.directory).read(), NOW)
    # 03:30 in Berlin is 01:30 in UTC, in summer.
    assert found.next == datetime(2026, 6, 11, 1, 30, tzinfo=UTC)
    assert found.text.startswith("no scheduler runs on this machine; the time is that of '30 3 * * *' in Europe/Berlin")


@pytest.mark.parametrize(
    "schedule", [{"cron": "every night"}, {"cron": "0 3 * * *", "timezone": "Mars/Base"}, {}, None]
)
@pytest.mark.parametrize("state", ["", "5", '{"asked": 5}', '{"asked": "yesterday"}', '{"next": null}'])
def test_what_can_not_be_read_is_said(make_root, schedule, state):
    root = make_root()
    root.run(config={"retraining": {"schedule": schedule}})
    (root.path / "schedule.json").write_text(state)
    found = schedule_of(root.path, RunRows(root.directory).read(), NOW)
    assert found.next is None
    assert ("schedule.json can't be read" in found.text) is (state != '{"next": null}')
    assert ("the cron expression of the last run" in found.text) is bool(schedule)


def test_keys_are_names_that_differ(make_root):
    paths = [make_root(name).path for name in ("a/plant", "b/plant", "c/plant-2", "d/plant")]
    assert Roots([*paths, paths[0]]).keys == ["plant", "plant-2", "plant-2-2", "plant-3"]
