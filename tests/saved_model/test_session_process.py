"""A model in a process of its own: the same answers as in this one, and this one lives on whatever becomes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisy_gru.saved_model.session import DeadlineExceededError, SessionModel
from noisy_gru.saved_model.session_process import ProcessEndedError, SessionProcess
from noisy_gru.schema.errors import ModelError
from tests.patience import PATIENCE, until

pytestmark = pytest.mark.slow

LONG = {"features": np.zeros((1, 500_000, 2), np.float32), "lengths": [500_000]}


@pytest.fixture(scope="module")
def folder(exported: tuple[Path, Any]) -> Path:
    return exported[0]


@pytest.fixture(scope="module")
def process(folder: Path) -> Any:
    with SessionProcess(folder, channels=2, most_steps=3_000_000) as process:
        yield process


def test_the_same_answers(folder: Path, process: SessionProcess, serialized_examples: list[bytes]) -> None:
    tensors = {"features": np.ones((2, 3, 2), np.float32), "lengths": np.array([3, 0])}
    nothing = {"features": np.zeros((0, 3, 2), np.float32), "lengths": np.zeros(0, np.int64)}
    questions = [
        ("serving_default", {"examples": serialized_examples}),
        ("serving_default", {"examples": np.array(serialized_examples[:3], object)}),
        ("serving_default", {"examples": []}),
        ("serving_tensors", tensors),
        ("serving_tensors", {"features": tensors["features"].tolist(), "lengths": [1, 2]}),
        ("serving_tensors", {"features": tensors["features"][:, ::-1], "lengths": [1, 2]}),
        ("serving_tensors", nothing),
    ]
    with SessionModel(folder) as model:
        assert process.signatures == model.signatures
        for signature, inputs in questions:
            expected, found = model.run(signature, inputs), process.run(signature, inputs)
            assert found.keys() == expected.keys()
            for name, array in expected.items():
                assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
                np.testing.assert_array_equal(found[name], array)


def test_the_same_errors(folder: Path, process: SessionProcess) -> None:
    questions: list[tuple[str, dict[str, Any]]] = [
        ("serving_magic", {}),
        ("serving_default", {"examples": [3]}),
        ("serving_default", {"examples": [b"\x0a\x05"]}),
        ("serving_default", {"examples": [b"", "é"]}),
        ("serving_tensors", {"features": np.zeros((1, 1, 3), np.float32), "lengths": [1]}),
        ("serving_tensors", {"lengths": [1]}),
    ]
    with SessionModel(folder) as model:
        for signature, inputs in questions:
            messages = []
            for requested in (model, process):
                with pytest.raises(ModelError) as caught:
                    requested.run(signature, inputs)
                messages.append(str(caught.value))
            assert messages[0] == messages[1]
    with pytest.raises(ModelError, match=r"holds no saved_model\.pb"):
        SessionProcess(folder.parent)


def test_a_run_has_a_time(process: SessionProcess) -> None:
    with pytest.raises(DeadlineExceededError, match=r"did not answer within 0\.3 s"):
        process.run("serving_tensors", LONG, seconds=0.3)
    assert process.alive


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_what_ends_the_process_is_an_error_of_all_who_ask_it(folder: Path, number: signal.Signals) -> None:
    with SessionProcess(folder, channels=2, most_steps=3_000_000) as process:
        errors: list[Exception] = []

        def ask() -> None:
            try:
                process.run("serving_tensors", LONG)
            except ModelError as error:
                errors.append(error)

        asking = [threading.Thread(target=ask) for _ in range(2)]
        for thread in asking:
            thread.start()
        time.sleep(0.5)
        os.kill(process.pid, number)
        for thread in asking:
            thread.join(PATIENCE)
        assert [type(error) for error in errors] == [ProcessEndedError] * 2
        assert f"was ended by signal {number.value} ({number.name})" in str(errors[0])
        assert not process.alive
        with pytest.raises(ProcessEndedError):
            process.run("serving_default", {"examples": []})


def test_a_process_that_hangs_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noisy_gru.saved_model.session_process._GRACE_SECONDS", 0.1)
    with SessionProcess(folder) as process:
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(ProcessEndedError, match="SIGKILL"):
            process.run("serving_default", {"examples": []}, seconds=0.1)


def test_nothing_is_left_when_its_parent_is_killed(folder: Path) -> None:
    code = (
        "import os, signal; from noisy_gru.saved_model.session_process import SessionProcess\n"
        f"process = SessionProcess({str(folder)!r}); print(process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    child = Path("/proc") / done.stdout.strip() / "stat"

    def ended() -> bool:
        try:
            return child.read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    until(ended)


def test_closed(folder: Path) -> None:
    process = SessionProcess(folder)
    process.close()
    process.close()
    assert not process.alive
    with pytest.raises(ModelError, match="is closed"):
        process.run("serving_default", {"examples": []})
