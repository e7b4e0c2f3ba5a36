"""The scheduler: what it makes of missed times, of signals, and of the death of its child or its own."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisy_gru.pipeline.config.cron import cron_times
from noisy_gru.pipeline.retrain.child_process import RetrainProcess, command
from noisy_gru.pipeline.retrain.schedule import next_time
from noisy_gru.pipeline.retrain.schedule_loop import ScheduleLoop
from tests.patience import until


def at(cron: str, zone: str) -> Callable[[datetime], datetime | None]:
    return partial(next_time, cron_times(cron), ZoneInfo(zone))


NIGHTLY = at("0 3 * * *", "Europe/Berlin")
EVERY_SECOND = at("* * * * * *", "UTC")
# Far from all that the real clock could bring near.
NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)


class Bench:
    """Runs the schedule in this process, which it stops by a real signal."""

    def __init__(self, folder: Path):
        self.state = folder / "schedule.json"
        self.calls = 0
        self.logged: list[str] = []

    def stop(self, number: int = signal.SIGTERM) -> None:
        os.kill(os.getpid(), number)

    def run(self, following: Any, retrain: Callable[[], None] | None = None, **options: Any) -> int:
        def call() -> None:
            self.calls += 1
            (retrain or self.stop)()

        given: dict[str, Any] = {"catch_up": True, "has_run_to_resume": lambda: False, "now": lambda: NOW}
        schedule = ScheduleLoop(
            next_time=following,
            state=self.state,
            retrain=call,
            log=self.logged.append,
            **(given | options),
        )
        return schedule.run()

    def run_for_a_moment(self, following: Any, **options: Any) -> int:
        """Stops it when it has waited a few times, for what must not be called."""
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                self.stop()

        return self.run(following, sleep=sleep, **options)

    def last_check(self) -> str:
        return json.loads(self.state.read_text())["asked"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_first_start_makes_up_for_nothing(bench):
    assert bench.run_for_a_moment(NIGHTLY) == signal.SIGTERM
    assert bench.calls == 0
    assert bench.last_check() == "2026-06-10T12:00:00Z"
    assert bench.logged[-1] == "stopped by SIGTERM"
    # 03:00 in Berlin, in summer.
    assert json.loads(bench.state.read_text())["next"] == "2026-06-11T01:00:00Z"


@pytest.mark.parametrize(
    ("last_check", "calls"),
    [
        # 03:00 in Berlin is 01:00 in UTC, in summer.
        ("2026-06-10T01:00:00Z", 0),
        ("2026-06-10T00:59:59Z", 1),
        # Nine nights are one call.
        ("2026-06-01T12:00:00Z", 1),
    ],
)
def test_times_that_passed_while_it_was_down_are_one_call(bench, last_check, calls):
    bench.state.write_text(json.dumps({"asked": last_check}))
    assert (bench.run(NIGHTLY) if calls else bench.run_for_a_moment(NIGHTLY)) == signal.SIGTERM
    assert bench.calls == calls
    assert bench.last_check() == "2026-06-10T12:00:00Z"


def test_missed_times_can_be_skipped(bench):
    bench.state.write_text(json.dumps({"asked": "2026-06-01T12:00:00Z"}))
    bench.run_for_a_moment(NIGHTLY, catch_up=False)
    assert bench.calls == 0


def test_what_was_cut_off_is_gone_on_with_at_the_start(bench):
    bench.state.write_text(json.dumps({"asked": "2026-06-10T11:59:00Z"}))
    bench.run(NIGHTLY, has_run_to_resume=lambda: True)
    assert bench.calls == 1
    assert "an interrupted retraining is resumed now" in bench.logged


@pytest.mark.parametrize(
    ("content", "words"),
    [
        *((content, "can't be read") for content in ["", "{", "[]", '{"asked": 5}', '{"asked": "yesterday"}', "\xff"]),
        # A clock that was wrong.
        ('{"asked": "2033-01-01T00:00:00Z"}', "at 2033-01-01T00:00:00Z, but the clock says 2026-06-10T12:00:00Z"),
    ],
)
@pytest.mark.parametrize("catch_up", [True, False])
def test_a_record_that_is_not_to_be_trusted_is_told_of(bench, content, words, catch_up):
    bench.state.write_text(content, encoding="latin-1")
    (bench.run if catch_up else bench.run_for_a_moment)(NIGHTLY, catch_up=catch_up)
    assert words in bench.logged[0]
    # A time may have been missed: whether there is anything to do is for the rules to say.
    assert bench.calls == int(catch_up)
    assert bench.last_check() == "2026-06-10T12:00:00Z"


class Clock:
    """A clock whose hands move by the waits, and which somebody sets."""

    def __init__(self, *settings: tuple[int, datetime]):
        self.time = NOW
        self.waits = 0
        self._settings = dict(settings)

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 5
        self.waits += 1
        self.time = self._settings.get(self.waits, self.time + timedelta(seconds=seconds))


def calls_by(bench: Bench, clock: Clock, count: int, **options: Any) -> list[str]:
    """When it calls, until it has so many times."""
    calls: list[str] = []

    def retrain() -> None:
        calls.append(f"{clock.time:%Y-%m-%d %H:%M:%S}")
        if len(calls) == count:
            bench.stop()

    bench.run(NIGHTLY, retrain, now=clock.now, sleep=clock.sleep, **options)
    return calls


def test_a_clock_that_is_set_back_by_years_does_not_wait_for_them(bench):
    """01:00 in UTC is 03:00 in Berlin, in summer."""
    clock = Clock((10, datetime(2021, 6, 10, 12, tzinfo=UTC)))
    assert calls_by(bench, clock, 2) == ["2021-06-11 01:00:00", "2021-06-12 01:00:00"]
    assert "WARNING: the clock was set back to 2021-06-10T12:00:00Z, from 2026-06-10T12:00:00Z or later" in bench.logged
    assert bench.last_check() == "2021-06-12T01:00:00Z"


def test_a_clock_that_jumps_ahead_by_years_and_back_calls_once_for_it_and_goes_on(bench):
    clock = Clock((10, datetime(2033, 1, 1, tzinfo=UTC)), (20, datetime(2026, 6, 10, 12, 2, tzinfo=UTC)))
    assert calls_by(bench, clock, 2) == ["2033-01-01 00:00:00", "2026-06-11 01:00:00"]


def test_a_correction_of_the_clock_repeats_nothing(bench):
    """After the call at 01:00:00 the clock goes back by an hour: 01:00 comes again, and is not called again."""
    waits = 13 * 3600 // 5
    clock = Clock((waits + 3, datetime(2026, 6, 11, 0, 30, tzinfo=UTC)))
    assert calls_by(bench, clock, 2) == ["2026-06-11 01:00:00", "2026-06-12 01:00:00"]


def test_a_clock_that_creeps_back_again_and_again_delays_a_time_by_three_hours_at_most(bench):
    steps = [(10 + 10 * number, NOW - timedelta(hours=2 * number)) for number in range(1, 20)]
    assert calls_by(bench, Clock(*steps), 1) == ["2026-06-09 01:00:00"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(1, 3000), st.integers(-20 * 365 * 24 * 60, 20 * 365 * 24 * 60)),
        max_size=6,
        unique_by=lambda each: each[0],
    )
)
def test_whatever_becomes_of_the_clock_the_next_time_is_a_night_away(bench, jumps):
    """Jumps of up to twenty years, each after so many waits; a wait is a minute long here, as on a busy machine."""
    clock = Clock()
    moves = dict(jumps)
    last_jump = max(moves, default=0)
    calls: list[int] = []

    def sleep(seconds: float) -> None:
        assert 0 < seconds <= 5
        clock.waits += 1
        assert clock.waits - last_jump <= 28 * 60, "it waits for ever"
        clock.time += timedelta(minutes=1 + moves.get(clock.waits, 0))

    def retrain() -> None:
        calls.append(clock.waits)
        # Called in the hour of the night, or for times that a jump passed over.
        assert clock.time.hour in (1, 2) or moves, clock.time
        if clock.waits > last_jump:
            bench.stop()

    bench.state.unlink(missing_ok=True)
    bench.run(NIGHTLY, retrain, now=clock.now, sleep=sleep)
    # In minutes: a night, and the three hours of a correction, in which nothing is repeated.
    assert calls[-1] - last_jump <= 27 * 60 + 1


def test_a_machine_that_slept_over_a_time(bench):
    clock = Clock((10, datetime(2026, 6, 11, 6, tzinfo=UTC)))
    assert calls_by(bench, clock, 2) == ["2026-06-11 06:00:00", "2026-06-12 01:00:00"]
    clock = Clock((10, datetime(2026, 6, 11, 6, tzinfo=UTC)))
    bench.state.unlink()
    assert calls_by(bench, clock, 1, catch_up=False) == ["2026-06-12 01:00:00"]
    assert "missed run at 2026-06-11T01:00:00Z: skipped (retraining.schedule.missed is skip)" in bench.logged


def test_jitter_is_added_to_the_moment(bench):
    draws = []

    def uniform(low: float, high: float) -> float:
        draws.append((low, high))
        return high * 0.75

    options = {"jitter": timedelta(hours=1), "uniform": uniform}
    assert calls_by(bench, Clock(), 2, **options) == ["2026-06-11 01:45:00", "2026-06-12 01:45:00"]
    assert set(draws) == {(0.0, 3600.0)}


def test_times_that_pass_during_a_retraining_become_one(bench):
    clock, starts = Clock(), []

    def retrain() -> None:
        starts.append(f"{clock.time:%H:%M:%S.%f}")
        if len(starts) == 1:
            clock.time += timedelta(seconds=3.2)
        if len(starts) == 3:
            bench.stop(signal.SIGINT)

    assert bench.run(EVERY_SECOND, retrain, now=clock.now, sleep=clock.sleep) == signal.SIGINT
    # Three seconds passed, which are one call.
    assert starts == ["12:00:01.000000", "12:00:04.200000", "12:00:05.000000"]


def test_a_machine_in_need_does_not_end_it(bench):
    def retrain() -> None:
        if bench.calls == 1:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        bench.stop()

    clock = Clock()
    assert bench.run(EVERY_SECOND, retrain, now=clock.now, sleep=clock.sleep) == signal.SIGTERM
    assert bench.calls == 2
    assert any("WARNING: the retraining could not be started: [Errno 11]" in line for line in bench.logged)


def test_a_state_that_can_not_be_written_keeps_no_time_from_being_called(bench):
    """As on a full disk: the retraining fails then, and tells the hooks."""
    link = bench.state.parent / "link"
    link.symlink_to("nowhere")
    bench.state = link / "schedule.json"
    assert calls_by(bench, Clock(), 2) == ["2026-06-11 01:00:00", "2026-06-12 01:00:00"]
    assert sum("can't be written ([Errno" in line for line in bench.logged) == 3


def test_handlers_are_put_back(bench):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    bench.run(NIGHTLY, has_run_to_resume=lambda: True)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def child(code: str) -> RetrainProcess:
    return RetrainProcess([sys.executable, "-c", f"import json, os, signal, subprocess, sys, time\n{code}"])


def test_a_child_that_says_how_it_ended():
    ended = child("print('noise'); print(json.dumps({'outcome': 'refused'})); sys.exit(3)").run()
    assert (ended.code, ended.report) == (3, {"outcome": "refused"})


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL, perhaps because memory ran out"),
        ("os.abort()", "was killed by SIGABRT"),
        ("sys.exit(1)", "exited with code 1 and printed no result"),
        ("print('[1]')", "exited with code 0 and printed no result"),
        ("print('{')", "exited with code 0 and printed no result"),
    ],
)
def test_a_child_that_does_not(code, words):
    ended = child(code).run()
    assert (ended.report, ended.reason) == (None, words)


def test_a_child_that_hangs_is_killed(tmp_path):
    code = "import time; print('{}', flush=True); time.sleep(600)"
    ended = RetrainProcess([sys.executable, "-c", code], time_limit=1.0).run()
    assert (ended.code, ended.report) == (-signal.SIGKILL, None)
    assert ended.reason == "was killed after 1 s (retraining.schedule.time_limit)"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_a_killed_child_started_is_killed_too(tmp_path):
    grandchild = tmp_path / "pid"
    code = (
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(grandchild)!r}, 'w').write(str(other.pid))\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    assert child(code).run().code == -signal.SIGKILL
    until(lambda: not alive(int(grandchild.read_text())))


def test_the_command_holds_all_that_it_needs(tmp_path):
    argv = command(Path("c.yaml"), root=Path("runs/x"), overrides=["seed=1", "data.files=[a b]"])
    expected = ["retrain", "run", str(Path("c.yaml").absolute()), "--root", str(Path("runs/x").absolute())]
    assert argv[:3] == [sys.executable, "-m", "noisy_gru.pipeline"]
    assert argv[3:] == [*expected, "--set", "seed=1", "--set", "data.files=[a b]", "--json"]


# A scheduler of its own process, whose child does what argv[2] says.
SCHEDULER = """
import sys
from pathlib import Path
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.retrain.child_process import RetrainProcess
from noisy_gru.pipeline.retrain.schedule import run_schedule
from noisy_gru.schema.errors import UserError

config, root, code = sys.argv[1:]
loaded = load_config(config, ["retraining.schedule.cron='* * * * * *'"])
heavy = {"tensorflow", "tfx", "apache_beam", "ml_metadata"} & set(sys.modules)
assert not heavy, heavy
child = RetrainProcess([sys.executable, "-c", "import json, os, signal, sys, time\\n" + code])
try:
    sys.exit(run_schedule(loaded, Path(config), Path(root), [], run_child=child.run))
except UserError as error:
    sys.exit(str(error))
"""
VOWELS = Path(__file__).parents[3] / "examples" / "japanese_vowels" / "config.yaml"
# Says that it lives, then waits to be stopped.
WAITS = """
def stop(*_):
    print("child stopped", file=sys.stderr, flush=True)
    print(json.dumps({"outcome": "interrupted", "error": "interrupted", "notified": []}), flush=True)
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
print("lives as", os.getpid(), file=sys.stderr, flush=True)
time.sleep(600)
"""
STUBBORN = """
signal.signal(signal.SIGTERM, lambda *_: print("child refuses", file=sys.stderr, flush=True))
print("lives as", os.getpid(), file=sys.stderr, flush=True)
while True:
    time.sleep(600)
"""
DIES = "print('lives as', os.getpid(), file=sys.stderr, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"


@contextlib.contextmanager
def scheduler(root: Path, code: str) -> Iterator[tuple[subprocess.Popen[str], Callable[[str], str]]]:
    """The process, and what waits for a line of it."""
    argv = [sys.executable, "-W", "error", "-c", SCHEDULER, str(VOWELS), str(root), code]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        seen: list[str] = []

        def wait_for(words: str) -> str:
            for line in lines:
                seen.append(line)
                if words in line:
                    return line
            raise AssertionError(f"{words!r} never came: {''.join(seen)}")

        try:
            yield process, wait_for
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_stop_ends_the_child_gracefully(tmp_path, number, code):
    with scheduler(tmp_path, WAITS) as (process, wait_for):
        pid = int(wait_for("lives as").split()[2])
        process.send_signal(number)
        wait_for("child stopped")
        wait_for(f"stopped by {signal.Signals(number).name}")
        assert process.wait() == code
        until(lambda: not alive(pid))


@pytest.mark.slow
def test_a_second_stop_kills_a_child_that_does_not_listen(tmp_path):
    with scheduler(tmp_path, STUBBORN) as (process, wait_for):
        pid = int(wait_for("lives as").split()[2])
        process.terminate()
        wait_for("child refuses")
        process.terminate()
        assert process.wait() == 0
        until(lambda: not alive(pid))


@pytest.mark.slow
def test_a_child_that_is_killed_does_not_end_the_scheduler(tmp_path):
    with scheduler(tmp_path, DIES) as (process, wait_for):
        for _ in range(2):
            wait_for("lives as")
            wait_for("WARNING: the retraining was killed by SIGKILL, perhaps because memory ran out")
        process.terminate()
        assert process.wait() == 0


@pytest.mark.slow
def test_the_outcome_is_said_once(tmp_path):
    report = {"outcome": "not due", "plan": {"summary": "not due: nothing new"}, "notified": []}
    with scheduler(tmp_path, f"print(json.dumps({report}), flush=True)") as (process, wait_for):
        assert wait_for("nothing new").split(" ", 1)[1] == "not due: nothing new\n"
        process.terminate()
        assert process.wait() == 0


@pytest.mark.slow
def test_a_second_scheduler_says_who_is_there_and_a_killed_one_leaves_nothing_behind(tmp_path):
    with scheduler(tmp_path, WAITS) as (process, wait_for):
        pid = int(wait_for("lives as").split()[2])
        with scheduler(tmp_path, WAITS) as (other, wait_for_other):
            wait_for_other(f"in use by process {process.pid} on ")
            assert other.wait() == 1
        process.kill()
        process.wait()
        # The child goes on to its end: what it does holds the lock of the root, not of the scheduler.
        assert alive(pid)
        with scheduler(tmp_path, WAITS) as (third, wait_for_third):
            wait_for_third("lives as")
            third.terminate()
            assert third.wait() == 0
        os.kill(pid, signal.SIGKILL)
    last_check = datetime.fromisoformat(json.loads((tmp_path / "schedule.json").read_text())["asked"])
    assert timedelta() <= datetime.now(UTC) - last_check < timedelta(hours=1)
