"""The clean process: loads a SavedModel in a Session, asks it every batch twice, and hands back what it saw.

    python -m noisy_gru.components.serving_gate.probe QUESTIONS ANSWERS

Neither TensorFlow nor Keras is imported, so nothing but the SavedModel can lend the model a hand.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from noisy_gru.schema.errors import ModelError
from noisy_gru.trainer.c_api import stateful_operations
from noisy_gru.trainer.session import SessionModel, Signature

Answers = dict[str, np.ndarray]
_ROUNDS = 2


@dataclass(frozen=True)
class Question:
    """A call of a signature."""

    signature: str
    inputs: dict[str, np.ndarray]


@dataclass(frozen=True)
class Testimony:
    """What the clean process saw.

    Attributes:
        error: TensorFlow's words if the model could not be loaded, or the process ended early; empty if all is well.
        stateful: operations that TensorFlow counts as stateful.
        signatures: of the model.
        rounds: for each round, for each question the answers, or TensorFlow's words.
    """

    error: str = ""
    stateful: frozenset[str] = frozenset()
    signatures: dict[str, Signature] = field(default_factory=dict)
    rounds: list[list[Answers | str]] = field(default_factory=list)


def observe(model: Path, questions: list[Question]) -> Testimony:
    """Loads the model and asks all questions, then all of them again."""
    stateful = stateful_operations()
    try:
        loaded = SessionModel(model)
    except ModelError as error:
        return Testimony(error=str(error), stateful=stateful)
    with loaded:
        rounds: list[list[Answers | str]] = []
        for _ in range(_ROUNDS):
            rounds.append([_ask(loaded, question) for question in questions])
        return Testimony(stateful=stateful, signatures=loaded.signatures, rounds=rounds)


def _ask(model: SessionModel, question: Question) -> Answers | str:
    try:
        return model.run(question.signature, question.inputs)
    except ModelError as error:
        return str(error)


def observe_apart(model: Path, questions: list[Question], *, timeout: float = 600.0) -> Testimony:
    """`observe`, in a process of its own, which may crash or hang without harm to this one.

    Args:
        model: folder of the SavedModel.
        questions: what to ask.
        timeout: seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "questions", Path(folder) / "answers"
        asked.write_bytes(pickle.dumps((model, questions)))
        command = [sys.executable, "-m", __name__, str(asked), str(answered)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout, check=False, env=environment
            )
        except subprocess.TimeoutExpired:
            return Testimony(error=f"The model did not answer within {timeout:g} s.")
        if done.returncode != 0 or not answered.is_file():
            words = done.stderr.strip().splitlines()[-5:]
            return Testimony(error="\n".join([f"The process that loads it ended with {done.returncode}.", *words]))
        return pickle.loads(answered.read_bytes())


if __name__ == "__main__":
    # Under its own name, so that what is pickled here is found there.
    from noisy_gru.components.serving_gate import probe

    _model, _questions = pickle.loads(Path(sys.argv[1]).read_bytes())
    Path(sys.argv[2]).write_bytes(pickle.dumps(probe.observe(_model, _questions)))
