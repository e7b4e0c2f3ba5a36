"""Stream requests: sequences cut into pieces for `serving_step`, whose outputs must equal those of the whole.

A cut is a chain of calls, of which each takes over the state that the one before returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from noisy_gru.components.serving_gate.probe import Outputs, ProbeRequest, ProbeResult
from noisy_gru.components.serving_gate.probe_sequences import (
    CHOSEN,
    LONGEST,
    affordable,
    spread,
    static_inputs,
    tensors,
)
from noisy_gru.components.serving_gate.signature_contract import LENGTHS, STATE, STEP, TENSORS
from noisy_gru.components.serving_gate.warmup import with_state
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.task_config import is_per_step

_STEPS = 12
_FEW = 8
# What is after the end of a sequence whose steps have answers.
_EMPTY = {"probabilities": 0.0, "class_id": -1, "label_bytes": b"", "predictions": 0.0}
_PIECES = 4


@dataclass(frozen=True)
class Cut:
    """A way to cut sequences into pieces.

    Attributes:
        name: in words.
        questions: the calls by name, of the pieces and of the whole.
        pairs: names of a call with a piece, and of the one with all up to its end in one, that must have one answer.
        begins: of each pair, the step at which each sequence's piece begins, int [B].
        per_step: whether each step has an answer, so that a piece has those to its own steps alone.
    """

    name: str
    questions: dict[str, ProbeRequest]
    pairs: list[tuple[str, str]]
    begins: list[np.ndarray]
    per_step: bool = False


def cuts(ordered: Sequence[bytes], dataset: DatasetConfig, state_size: int) -> list[Cut]:
    """Cut step by step, in chunks of one size, and in pieces of different sizes, of which some are empty.

    Of long sequences the beginning is taken.

    Args:
        ordered: sequences by their length.
        dataset: names the features and their order.
        state_size: S, the numbers in a stream's state.
    """
    few, many = tensors(spread(ordered, _FEW), dataset), tensors(spread(ordered, affordable(ordered, CHOSEN)), dataset)
    once = static_inputs(dataset)
    short, lengths = np.minimum(few[LENGTHS], _STEPS), np.minimum(many[LENGTHS], LONGEST)
    each_step = np.minimum(np.arange(1, short.max() + 1), short[:, None])
    chunk = max(-(-int(lengths.max()) // _PIECES), 1)
    chunks = np.minimum(chunk * np.arange(1, _PIECES + 1), lengths[:, None])
    random = np.random.default_rng(0)
    places = np.sort(random.integers(0, lengths[:, None] + 1, (len(lengths), _PIECES)), axis=1)
    found = [
        _cut("step by step", few, each_step, state_size, once, all_pieces=True),
        _cut(f"in chunks of {chunk} steps", many, chunks, state_size, once),
        _cut("in pieces of any size", many, np.hstack([places, lengths[:, None]]), state_size, once),
    ]
    return [replace(each, per_step=is_per_step(dataset.task)) for each in found]


def _cut(
    name: str,
    whole: Mapping[str, np.ndarray],
    ends: np.ndarray,
    state_size: int,
    once: frozenset[str],
    *,
    all_pieces: bool = False,
) -> Cut:
    """Cut at ``ends``, int [B, pieces]; outputs are compared after all pieces, or after the last alone.

    The inputs ``once`` have no steps, and come with every piece.
    """
    questions: dict[str, ProbeRequest] = {}
    pairs, starts = [], []
    begins, before = np.zeros(len(ends), np.int64), ""
    count = ends.shape[1]
    for number, end in enumerate(ends.T, start=1):
        call = f"{STEP} {name}, call {number} of {count}"
        piece = _piece(whole, begins, end, once)
        questions[call] = ProbeRequest(STEP, piece if before else with_state(piece, state_size), before)
        if all_pieces or number == count:
            reference = f"{TENSORS} up to the end of call {number} ({name})"
            questions[reference] = ProbeRequest(TENSORS, _piece(whole, np.zeros_like(end), end, once))
            pairs.append((call, reference))
            starts.append(np.asarray(begins))
        begins, before = end, call
    return Cut(name, questions, pairs, starts)


def _piece(
    whole: Mapping[str, np.ndarray], begins: np.ndarray, ends: np.ndarray, once: frozenset[str]
) -> dict[str, np.ndarray]:
    """Return the steps from `begins` to `ends` of each row, int [B], padded with values that must not matter."""
    steps = (ends - begins).astype(np.int64)
    piece: dict[str, np.ndarray] = {LENGTHS: steps}
    for name, values in whole.items():
        if name == LENGTHS:
            continue
        if name in once:
            piece[name] = values
            continue
        shape = (len(steps), int(steps.max(initial=0)) + 1, *values.shape[2:])
        padding = b"after the end" if values.dtype == object else 7.0
        piece[name] = np.full(shape, padding, values.dtype)
        for row, (begin, count) in enumerate(zip(begins, steps, strict=True)):
            piece[name][row, :count] = values[row, begin : begin + count]
    return piece


def stream_answers(cut: Cut, seen: ProbeResult) -> list[tuple[str, Outputs, Outputs]]:
    """Yield for each pair its name, the outputs of `serving_step` without the state, and those of the whole."""
    found = []
    for (call, reference), begins in zip(cut.pairs, cut.begins, strict=True):
        piece = {key: value for key, value in seen.answers(call).items() if key != STATE}
        whole = seen.answers(reference)
        found.append((call, piece, _steps_of_piece(whole, piece, begins) if cut.per_step else whole))
    return found


def _steps_of_piece(whole: Outputs, piece: Outputs, begins: np.ndarray) -> Outputs:
    """Return the answers of the whole sequences to the steps of a piece, in the form of the piece's."""
    lengths = whole[LENGTHS] - begins
    given = {name: empty for name, empty in _EMPTY.items() if name in whole}
    axis = max(piece[next(iter(given))].shape[1], int(lengths.max(initial=0)))
    found = {**whole, LENGTHS: lengths}
    for name, empty in given.items():
        values = whole[name]
        found[name] = np.full((len(values), axis, *values.shape[2:]), empty, values.dtype)
        for row, (begin, count) in enumerate(zip(begins, lengths, strict=True)):
            found[name][row, :count] = values[row, begin : begin + count]
    return found
