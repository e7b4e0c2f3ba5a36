"""Every change of the versions, killed before each of its steps: what a server sees, and that the next one mends it.

The change runs in a process of its own, which sends itself SIGKILL. A helper without threads forks one for each test,
because a Python that starts anew for each of them takes minutes.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.registry.config import PublishingConfig
from noisy_gru.registry.history import HISTORY, last_actions, read_history
from noisy_gru.registry.labels import read_settings, served_versions
from noisy_gru.registry.publish import WithdrawnError, publish
from noisy_gru.registry.published_versions import (
    hash_files,
    published_versions,
    read_publication,
    versions,
    withdrawn_versions,
)
from noisy_gru.registry.rollout import promote, restore, rollback
from noisy_gru.registry.server_files import FILES, MODELS_CONFIG, render
from noisy_gru.schema.errors import PublishError

WRITES = ["server files", *(f"write {name}" for name in FILES)]
PUSH = ["clean", "settings", "copy", "check", "record", "sync", "rename", "history", *WRITES]
PUSH += ["retire", "record removal", "remove", "done"]
ROLLBACK = ["clean", "pending", *WRITES, "wait", "withdraw", "withdraw", "history", *WRITES, "done", "clear pending"]
RESTORE = ["clean", "pending", "restore", "history", *WRITES, "done", "clear pending"]
PROMOTE = ["clean", "pending", "history", *WRITES, "done", "clear pending"]

CODE = """
import json, os, signal, sys, traceback
from pathlib import Path
from noisy_gru.registry.config import PublishingConfig
from noisy_gru.registry.publish import publish
from noisy_gru.registry.rollout import promote, restore, rollback

def do(left, serving, what, arguments):
    def at(step):
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    serving = Path(serving)
    if what == "publish":
        settings = PublishingConfig.model_validate(arguments["settings"])
        publish(Path(arguments["source"]), serving, "m", at=at, clock=lambda: arguments["clock"], settings=settings)
    else:
        {"rollback": rollback, "restore": restore, "promote": promote}[what](serving, "m", at=at, **arguments)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            do(*json.loads(line))
        except BaseException:
            traceback.print_exc()
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
Kill = Callable[..., None]


@pytest.fixture(scope="module")
def kill() -> Iterator[Kill]:
    """``kill(number, serving, what, **arguments)`` does something in another process, killed before that step of it."""
    command = [sys.executable, "-c", CODE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as helper:
        assert helper.stdin is not None
        assert helper.stdout is not None

        def _kill(number: int, serving: Path, what: str, **arguments: Any) -> None:
            assert helper.stdin is not None
            assert helper.stdout is not None
            print(json.dumps([number, str(serving), what, arguments]), file=helper.stdin, flush=True)
            assert int(helper.stdout.readline()) == -signal.SIGKILL

        yield _kill
        helper.stdin.close()


def settings(**changes: Any) -> PublishingConfig:
    return PublishingConfig.model_validate({"versions": changes})


@pytest.fixture
def serving(model: Path, change: Callable[[Path], Path], tmp_path: Path) -> Path:
    """A model with the versions 100, 200 and 300, of which 100 is stable, as nothing was promoted."""
    for version in (100.0, 200.0, 300.0):
        publish(
            change(model), tmp_path / "serving", "m", settings=settings(rollout="canary"), clock=lambda v=version: v
        )
    return tmp_path / "serving"


def check_seen(serving: Path) -> list[int]:
    """The versions a server sees: never none, each whole, and ``models.config`` names none that isn't among them."""
    found = versions(serving / "m")
    assert found
    for version in found:
        folder = serving / "m" / str(version)
        assert hash_files(folder) == read_publication(folder).files, f"{version} is not whole"
    for file in (serving / name for name in FILES):
        assert file.read_text().endswith("\n")
    return found


def check_settled(serving: Path) -> None:
    """After a change that ended: no leftovers, a history that agrees with the folders, and files that do, too."""
    folder = serving / "m"
    names = [child.name for child in folder.iterdir()]
    assert not [name for name in names if name.startswith(("incoming-", "removed-", "pending-"))]
    last = last_actions(read_history(folder))
    there = {version for version, event in last.items() if event.action in ("publish", "restore")}
    assert sorted(there) == published_versions(folder)
    withdrawn = {version for version, event in last.items() if event.action == "rollback"}
    assert sorted(withdrawn) == withdrawn_versions(folder)
    assert all(json.loads(line) for line in (folder / HISTORY).read_text().splitlines())
    model = served_versions(folder)
    assert model is not None
    for name in FILES:
        assert (serving / name).read_text() == render(name, [model], read_settings(folder).batching)


@pytest.mark.parametrize("number", range(len(PUSH)), ids=PUSH)
def test_a_push(kill: Kill, number: int, serving: Path, model: Path, change: Callable[[Path], Path]) -> None:
    few = settings(rollout="direct", keep=3)
    source = change(model)
    kill(number, serving, "publish", source=str(source), clock=400.0, settings=few.model_dump())
    arrived, left = number > PUSH.index("rename"), number > PUSH.index("retire")
    assert check_seen(serving) == [100] * (not left) + [200, 300] + [400] * arrived
    again = publish(source, serving, "m", settings=few, clock=lambda: 500.0)
    assert again.is_new is not arrived
    assert versions(serving / "m") == [200, 300, 400 if arrived else 500]
    check_settled(serving)
    assert again.labels.stable == again.publication.version


@pytest.mark.parametrize("number", range(len(ROLLBACK)), ids=[f"{n} {step}" for n, step in enumerate(ROLLBACK)])
def test_a_rollback_over_two_versions(kill: Kill, number: int, serving: Path) -> None:
    kill(number, serving, "rollback", to=100, reason="bad", wait=0.001)
    gone = [step for step in ROLLBACK[:number] if step == "withdraw"]
    assert check_seen(serving) == [100, 200, 300][: 3 - len(gone)]
    # The newest that is left is served, and the same again ends at the same place.
    change = rollback(serving, "m", to=100, reason="bad")
    assert (change.newest, change.stable) == (100, 100)
    assert (versions(serving / "m"), withdrawn_versions(serving / "m")) == ([100], [200, 300])
    check_settled(serving)
    assert {event.reason for event in read_history(serving / "m") if event.action == "rollback"} == {"bad"}


ONE_BACK = [step for step in ROLLBACK if step != "wait"]
ONE_BACK.remove("withdraw")


@pytest.mark.parametrize("number", range(len(ONE_BACK)), ids=[f"{n} {step}" for n, step in enumerate(ONE_BACK)])
def test_a_rollback_that_was_cut_off_goes_back_one_version_and_not_two(kill: Kill, number: int, serving: Path) -> None:
    kill(number, serving, "rollback", reason="bad")
    change = rollback(serving, "m", reason="bad")
    assert change.newest == 200
    assert withdrawn_versions(serving / "m") == [300]
    assert ("begun before" in change.text) is (number > ONE_BACK.index("pending"))
    check_settled(serving)
    assert [event.version for event in read_history(serving / "m") if event.action == "rollback"] == [300]
    # The next one is another one.
    assert rollback(serving, "m").newest == 100


@pytest.mark.parametrize("number", [ROLLBACK.index("withdraw") + 1, len(ROLLBACK) - 1])
def test_a_push_after_a_rollback_that_was_cut_off(
    kill: Kill, number: int, serving: Path, model: Path, change: Callable[[Path], Path]
) -> None:
    kill(number, serving, "rollback", to=100, reason="bad", wait=0.001)
    publish(change(model), serving, "m", settings=settings(rollout="canary"), clock=lambda: 400.0)
    # What was asked for is done first.
    assert (versions(serving / "m"), withdrawn_versions(serving / "m")) == ([100, 400], [200, 300])
    assert {event.reason for event in read_history(serving / "m") if event.action == "rollback"} == {"bad"}
    check_settled(serving)
    assert rollback(serving, "m").newest == 100


@pytest.mark.parametrize("number", range(len(RESTORE)), ids=RESTORE)
def test_a_restoring(kill: Kill, number: int, serving: Path) -> None:
    rollback(serving, "m")
    kill(number, serving, "restore", version=300)
    assert check_seen(serving) == [100, 200] + [300] * (number > RESTORE.index("restore"))
    assert restore(serving, "m", 300).newest == 300
    assert versions(serving / "m") == [100, 200, 300]
    check_settled(serving)


@pytest.mark.parametrize("number", range(len(PROMOTE)), ids=PROMOTE)
def test_a_promotion(kill: Kill, number: int, serving: Path) -> None:
    kill(number, serving, "promote")
    assert check_seen(serving) == [100, 200, 300]
    assert promote(serving, "m").stable == 300
    check_settled(serving)
    assert "value: 300" in (serving / MODELS_CONFIG).read_text()
    assert [event.version for event in read_history(serving / "m") if event.action == "promote"] == [300]


def test_a_push_that_is_refused_leaves_nothing_pending(kill: Kill, serving: Path, model: Path) -> None:
    """It finishes the rollback; the rollback after that is another one."""
    kill(ONE_BACK.index("clear pending"), serving, "rollback", reason="bad")
    with pytest.raises(WithdrawnError):
        publish(model, serving, "m", settings=settings(rollout="canary"))
    check_settled(serving)
    assert rollback(serving, "m").newest == 100


def test_the_last_version_stays_when_what_was_to_be_gone_back_to_is_taken_away(kill: Kill, serving: Path) -> None:
    kill(ROLLBACK.index("withdraw"), serving, "rollback", to=100, reason="bad", wait=0.001)
    for version in (100, 200):
        shutil.rmtree(serving / "m" / str(version))
    with pytest.raises(PublishError, match="version 300 is the only one"):
        rollback(serving, "m", to=None)
    assert versions(serving / "m") == [300]


def test_what_was_undone_on_purpose_is_not_done_again(kill: Kill, serving: Path) -> None:
    """A restore that was killed at its end is over when the version is withdrawn again, even by a killed rollback."""
    rollback(serving, "m")
    kill(RESTORE.index("clear pending"), serving, "restore", version=300)
    # Before its own, the restore's answer is repeated.
    kill(len(["history", "clear pending"]) + ONE_BACK.index("clear pending"), serving, "rollback", reason="bad")
    change = rollback(serving, "m")
    assert (change.newest, withdrawn_versions(serving / "m")) == (200, [300])
    check_settled(serving)


@pytest.mark.parametrize("other", ["restore", "promote"])
def test_another_command_after_one_that_was_cut_off(kill: Kill, other: str, serving: Path) -> None:
    """What was asked for first is finished, and then what is asked for now is done."""
    kill(ROLLBACK.index("pending") + 1, serving, "rollback", reason="bad")
    if other == "restore":
        assert restore(serving, "m", 300).newest == 300
        assert versions(serving / "m") == [100, 200, 300]
    else:
        assert promote(serving, "m").stable == 200
        assert versions(serving / "m") == [100, 200]
    check_settled(serving)


def test_a_record_of_what_was_asked_for_that_cant_be_read_is_named(serving: Path) -> None:
    file = serving / "m" / "pending-0.json"
    file.write_text("{")
    with pytest.raises(PublishError, match=r"pending-0\.json can't be read as a pending change .* Delete it"):
        rollback(serving, "m")
    assert versions(serving / "m") == [100, 200, 300]


# As a person runs it, killed before each operation on a file, of which there are more than steps.
BY_OPERATION = """
import json, os, signal, sys, traceback

import noisy_gru.pipeline.cli.runs_commands
from noisy_gru.registry import rollout, server_files
from noisy_gru.pipeline.cli.main import main

# Compiling the templates is what a command spends its time with.
for name in server_files.FILES:
    server_files._environment().get_template(f"{name}.j2")

KINDS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "fcntl.flock", "shutil.rmtree"}

def do(left, folder, words):
    def count():
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def watch(event, arguments):
        if event in KINDS and (event == "fcntl.flock" or str(arguments[0]).startswith(folder)):
            count()

    def counted(function):
        def counting(*arguments):
            count()
            return function(*arguments)
        return counting

    sys.addaudithook(watch)
    os.fsync, os.write = counted(os.fsync), counted(os.write)
    sys.argv = ["noisy-gru", *words]
    code = 0
    try:
        main()
    except SystemExit as error:
        code = error.code or 0
    return left, code

for line in sys.stdin:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        write = os.write
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            write(writing, json.dumps(do(*json.loads(line))).encode())
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        print(answer.read() or "null", flush=True)
    os.waitpid(child, 0)
"""
COMMANDS = {"rollback": ["rollback"], "restore": ["restore", "300"], "promote": ["promote"]}
MANY = 10_000


@pytest.fixture(scope="module")
def command_line() -> Iterator[Callable[[int, Path, list[str]], list[int] | None]]:
    """Runs ``noisy-gru`` killed before an operation on a file: None; or gives how many were left, and its exit code."""
    command = [sys.executable, "-c", BY_OPERATION]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as helper:

        def call(number: int, folder: Path, words: list[str]) -> list[int] | None:
            assert helper.stdin is not None
            assert helper.stdout is not None
            print(json.dumps([number, str(folder), words]), file=helper.stdin, flush=True)
            return json.loads(helper.stdout.readline())

        yield call
        assert helper.stdin is not None
        helper.stdin.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=[pytest.mark.long] * (what != "rollback")) for what in COMMANDS]
)
def test_the_command_line_killed_before_each_operation_and_run_again(
    command_line: Callable[[int, Path, list[str]], list[int] | None], what: str, serving: Path, tmp_path: Path
) -> None:
    if what == "restore":
        rollback(serving, "m")

    def call(number: int, folder: Path) -> list[int] | None:
        words = ["runs", *COMMANDS[what], "--serving-dir", str(folder), "--reason", "bad"]
        return command_line(number, folder, words)

    shutil.copytree(serving, tmp_path / "whole")
    whole = call(MANY, tmp_path / "whole")
    assert whole is not None
    assert whole[1] == 0
    operations = MANY - whole[0]
    assert operations > 30
    for number in range(operations):
        folder = tmp_path / f"killed-{number}"
        shutil.copytree(serving, folder)
        assert call(number, folder) is None
        check_seen(folder)
        again = call(MANY, folder)
        assert again is not None
        assert again[1] == 0
        present = [100, 200] if what == "rollback" else [100, 200, 300]
        assert versions(folder / "m") == present, number
        check_settled(folder)
        events = [(event.action, event.version, event.reason) for event in read_history(folder / "m")]
        assert events[-1] == (what, 300, "bad"), number
        assert len([event for event in events if event[0] == what]) == 1, number
        shutil.rmtree(folder)


def test_the_steps_that_are_killed_are_all_there_are(
    serving: Path, model: Path, change: Callable[[Path], Path]
) -> None:
    def steps_of(act: Callable[[Callable[[str], None]], Any]) -> list[str]:
        seen: list[str] = []
        act(seen.append)
        return seen

    copy = serving.with_name("copy")
    shutil.copytree(serving, copy)
    assert steps_of(lambda at: promote(serving, "m", at=at)) == PROMOTE
    assert steps_of(lambda at: rollback(copy, "m", to=100, wait=0.001, at=at)) == ROLLBACK
    assert steps_of(lambda at: restore(copy, "m", 200, at=at)) == RESTORE
    few = settings(keep=3)
    assert steps_of(lambda at: publish(change(model), serving, "m", settings=few, at=at)) == PUSH


def test_a_line_of_the_history_that_was_cut_off(serving: Path) -> None:
    file = serving / "m" / HISTORY
    file.write_bytes(file.read_bytes()[:-20])
    assert [event.version for event in read_history(serving / "m")] == [100, 200]
    rollback(serving, "m", reason="bad")
    # The lost line is written anew, and the torn one stays by itself.
    events = [(event.action, event.version) for event in read_history(serving / "m")]
    assert events == [("publish", 100), ("publish", 200), ("publish", 300), ("rollback", 300)]
