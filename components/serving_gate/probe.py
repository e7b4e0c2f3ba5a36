"""Probe: a clean process that loads a SavedModel in a Session, sends all requests, some twice, and measures latency.

    python -m noisy_gru.components.serving_gate.probe QUESTIONS ANSWERS

Neither TensorFlow nor Keras is imported, so nothing but the SavedModel can lend the model a hand.
"""

from __future__ import annotations

import math
import os
import pickle
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from noisy_gru.components.serving_gate.importance import ImportancePlan, MeasuredImportance, measure_importance
from noisy_gru.components.serving_gate.signature_contract import STATE
from noisy_gru.saved_model.c_api import registered_operations
from noisy_gru.saved_model.session import SessionModel, Signature
from noisy_gru.schema.errors import ModelError

Outputs = dict[str, np.ndarray]
_FEWEST_CALLS = 5
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class ProbeRequest:
    """A call of a signature.

    Attributes:
        signature: its name.
        inputs: of the call, by name.
        after: name of the question before, whose answer's `state` this one takes over; empty for none.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    after: str = ""


@dataclass(frozen=True)
class TimedRequests:
    """Requests whose latency is measured.

    Attributes:
        signature: name of the signature.
        inputs: of the calls, taken in turn.
        calls: how many there are.
        seconds: after which no further call is made, once there are a few.
    """

    signature: str
    inputs: list[dict[str, np.ndarray]]
    calls: int
    seconds: float = math.inf


@dataclass(frozen=True)
class ProbeResult:
    """Result of a probe.

    Attributes:
        error: TensorFlow's words if the model could not be loaded, or the process ended early; empty if all is well.
        operations: those that TensorFlow knows, and whether it counts them as stateful.
        signatures: of the model.
        rounds: for each of two rounds, for each of its questions the answers, or TensorFlow's words.
        times: seconds that each timed call took; none are taken if a question failed.
        memory: bytes that loading and asking added to what the process held, at the most; None if that is not known.
        importance: of features and time steps; None if it wasn't asked for, or a question failed.
    """

    error: str = ""
    operations: Mapping[str, bool] = field(default_factory=dict)
    signatures: dict[str, Signature] = field(default_factory=dict)
    rounds: list[dict[str, Outputs | str]] = field(default_factory=list)
    times: dict[str, list[float]] = field(default_factory=dict)
    memory: int | None = None
    importance: MeasuredImportance | None = None

    def answers(self, name: str, round_: int = 0) -> Outputs:
        """Return the outputs of a request that succeeded."""
        answers = self.rounds[round_][name]
        if isinstance(answers, str):
            raise ValueError(f"The question {name} failed: {answers}")
        return answers

    def failures(self, names: Mapping[str, object]) -> list[str]:
        """Return those of ``names`` whose requests failed, with the reason."""
        outputs = {name: answers for of_round in reversed(self.rounds) for name, answers in of_round.items()}
        return [f"{name}: {outputs[name]}" for name in names if isinstance(outputs[name], str)]


def observe(
    model: Path,
    questions: Mapping[str, ProbeRequest],
    timed: Mapping[str, TimedRequests],
    repeated: Collection[str] | None = None,
    importance: ImportancePlan | None = None,
    *,
    before_times: Callable[[], object],
    clock: Callable[[], float] = time.perf_counter,
) -> ProbeResult:
    """Load the model, send all requests in order, then those to repeat again, and measure latency.

    Args:
        model: folder of the SavedModel.
        questions: by name.
        timed: by name.
        repeated: names of the questions that are asked again, with those that they come after; None: all.
        importance: what to exchange between sequences, when the times are taken; None: nothing.
        before_times: is called when all is asked; times are taken once it returns.
        clock: seconds.
    """
    operations = registered_operations()
    before = _memory("VmRSS")
    try:
        loaded = SessionModel(model)
    except ModelError as error:
        return ProbeResult(error=str(error), operations=operations)
    with loaded:
        again = {name: each for name, each in questions.items() if repeated is None or name in repeated}
        rounds = [_ask_all(loaded, each) for each in (questions, again)]
        failed = any(isinstance(answer, str) for answers in rounds for answer in answers.values())
        before_times()
        times = {} if failed else {name: _take_times(loaded, each, clock) for name, each in timed.items()}
        peak = _memory("VmHWM")
        memory = None if before is None or peak is None else max(peak - before, 0)
        measured = None if failed or importance is None else measure_importance(loaded, importance)
        return ProbeResult("", operations, loaded.signatures, rounds, times, memory, measured)


def _ask_all(model: SessionModel, questions: Mapping[str, ProbeRequest]) -> dict[str, Outputs | str]:
    outputs: dict[str, Outputs | str] = {}
    for name, question in questions.items():
        inputs = question.inputs
        if question.after:
            earlier = outputs[question.after]
            if isinstance(earlier, str):
                outputs[name] = f"not requested, because {question.after} failed"
                continue
            inputs = {**inputs, STATE: earlier[STATE]}
        try:
            outputs[name] = model.run(question.signature, inputs)
        except ModelError as error:
            outputs[name] = str(error)
    return outputs


def _take_times(model: SessionModel, timed: TimedRequests, clock: Callable[[], float]) -> list[float]:
    taken: list[float] = []
    while len(taken) < timed.calls and (len(taken) < _FEWEST_CALLS or sum(taken) < timed.seconds):
        inputs = timed.inputs[len(taken) % len(timed.inputs)]
        begun = clock()
        model.run(timed.signature, inputs)
        taken.append(clock() - begun)
    return taken


def _memory(what: str) -> int | None:
    """Return the memory of this process from /proc, in bytes: `VmRSS` now, `VmHWM` at its peak."""
    if not _STATUS.is_file():
        return None
    found = re.search(rf"^{what}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


class Probe:
    """`observe`, in a process of its own, which may crash or hang without harm to this one.

    >>> with Probe(model, questions, timed) as probe:  # doctest: +SKIP
    ...     expected = ask_somebody_else()  # while the process loads the model and asks
    ...     seen = probe.observation(timeout=600)  # it takes the times now, when nobody else computes

    Args:
        model: folder of the SavedModel.
        questions: what to ask.
        timed: what to take times of.
        repeated: what to ask again; None: everything.
        importance: what to exchange between sequences; None: nothing.
    """

    def __init__(
        self,
        model: Path,
        questions: Mapping[str, ProbeRequest],
        timed: Mapping[str, TimedRequests] | None = None,
        repeated: Collection[str] | None = None,
        importance: ImportancePlan | None = None,
    ):
        self._request = pickle.dumps((model, dict(questions), dict(timed or {}), repeated, importance))

    def __enter__(self) -> Probe:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        request_file, self._answer_file = folder / "questions", folder / "answers"
        request_file.write_bytes(self._request)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(request_file), str(self._answer_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()

    def observation(self, *, timeout: float) -> ProbeResult:
        """Return the probe's result; computed once.

        Args:
            timeout: seconds from now.
        """
        try:
            # The end of its standard input is the sign to take the times.
            _, words = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            return ProbeResult(error=f"The model did not answer within {timeout:g} s.")
        if self._process.returncode != 0 or not self._answer_file.is_file():
            last = words.strip().splitlines()[-5:]
            ended = f"The process that loads it ended with {self._process.returncode}."
            return ProbeResult(error="\n".join([ended, *last]))
        return pickle.loads(self._answer_file.read_bytes())


if __name__ == "__main__":
    # Under its own name, so that what is pickled here is found there.
    from noisy_gru.components.serving_gate import probe

    with Path(sys.argv[1]).open("rb") as _file:
        _request = pickle.load(_file)
    Path(sys.argv[2]).write_bytes(pickle.dumps(probe.observe(*_request, before_times=sys.stdin.read)))
