"""Probe plan: the requests for the probe, and the checks that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.message import DecodeError

from noisy_gru.components.serving_gate.cost_checks import text_batch, timed_calls
from noisy_gru.components.serving_gate.probe import ProbeRequest, TimedRequests
from noisy_gru.components.serving_gate.probe_sequences import (
    LONGEST,
    Batch,
    affordable,
    batches,
    by_length,
    example_values,
    filled,
    spread,
    steps_of,
    tensors,
    time_axis,
)
from noisy_gru.components.serving_gate.signature_contract import DEFAULT, STEP, TENSORS, state_size
from noisy_gru.components.serving_gate.stream_requests import Cut, cuts
from noisy_gru.components.serving_gate.warmup import read_requests, with_state
from noisy_gru.registry.config import BudgetsConfig
from noisy_gru.saved_model.saved_model_proto import parse_saved_model
from noisy_gru.saved_model.session import Signature, signatures_of
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ModelError

HELD_OUT = "held-out sequences as training reads them"
_HELD_OUT_COUNT = 256
# Steps of all questions, up to which every one is asked again. Noise shows in one, too.
_STEPS_REPEATED = 25_000


@dataclass(frozen=True)
class ProbePlan:
    """All requests of a probe.

    Attributes:
        warmup: the requests of the warm-up file, asked first.
        warmup_problem: why that file can't be read; empty if it can.
        parts: batches, each asked through both signatures.
        held_out: serialized tf.Examples for the comparison with training's way.
        streams: ways to cut sequences, for `serving_step`.
        timed: calls whose time is taken.
        longest: steps of the longest sequence.
    """

    warmup: dict[str, ProbeRequest] = field(default_factory=dict)
    warmup_problem: str = ""
    parts: list[Batch] = field(default_factory=list)
    held_out: list[bytes] = field(default_factory=list)
    streams: list[Cut] = field(default_factory=list)
    timed: dict[str, TimedRequests] = field(default_factory=dict)
    longest: int = 0

    @property
    def left_out(self) -> str:
        """What the requests leave out of the sequences, in words; empty for nothing."""
        if self.longest <= LONGEST:
            return ""
        return (
            f"; the longest sequence, those of all lengths and the held-out ones have up to {self.longest} steps, "
            f"others the first {LONGEST} alone"
        )

    @property
    def answers(self) -> dict[str, ProbeRequest]:
        """The requests of batches."""
        questions = {}
        for part in self.parts:
            questions[request_name(part, DEFAULT)] = ProbeRequest(DEFAULT, text_batch(part.examples))
            questions[request_name(part, TENSORS)] = ProbeRequest(TENSORS, part.tensors)
        if self.held_out:
            questions[HELD_OUT] = ProbeRequest(DEFAULT, text_batch(self.held_out))
        return questions

    @property
    def pieces(self) -> dict[str, ProbeRequest]:
        """The requests of streams."""
        return {name: question for cut in self.streams for name, question in cut.questions.items()}

    @property
    def questions(self) -> dict[str, ProbeRequest]:
        """All requests, in order."""
        return {**self.warmup, **self.answers, **self.pieces}

    @property
    def repeated(self) -> list[str]:
        """The names of the requests that are asked again: all, or one of each signature where sequences are long."""
        answers, pieces = self.answers, self.pieces
        axes = [axis for part in self.parts for axis in [time_axis(part.tensors)] * 2]
        axes += [time_axis(piece.inputs) for piece in pieces.values()]
        if sum(axes) + max(axes, default=0) <= _STEPS_REPEATED:
            return list(self.questions)
        first = {each.signature: name for name, each in reversed([*answers.items(), *pieces.items()]) if not each.after}
        return list(first.values())


def request_name(part: Batch, signature: str) -> str:
    """Return the name of the request that sends a batch to a signature."""
    return f"{part.name}, {signature}"


def make_probe_plan(
    model: Path,
    examples: Sequence[bytes],
    dataset: DatasetConfig,
    budgets: BudgetsConfig,
    signatures: Mapping[str, Signature],
    *,
    serving_step: bool,
) -> ProbePlan:
    """Make the plan for a model with the signatures of the contract.

    Args:
        model: its folder, with the warm-up file.
        examples: serialized, held-out tf.Examples, at least one.
        dataset: of the model.
        budgets: what it may cost.
        signatures: of the model.
        serving_step: whether it should have that signature.
    """
    ordered = by_length(examples, dataset)
    try:
        warmup, problem = read_requests(model), ""
    except ModelError as error:
        warmup, problem = {}, str(error)
    return ProbePlan(
        warmup=warmup,
        warmup_problem=problem,
        parts=batches(ordered, dataset, budgets.batch_size),
        held_out=spread(ordered, affordable(ordered, _HELD_OUT_COUNT)),
        streams=cuts(ordered, dataset, state_size(signatures)) if serving_step else [],
        timed=timed_calls(ordered, budgets),
        longest=steps_of(example_values(ordered[-1]), dataset),
    )


def warmup_requests(
    examples: Sequence[bytes],
    dataset: DatasetConfig,
    batch_size: int,
    signatures: Mapping[str, Signature],
    *,
    serving_step: bool,
) -> dict[str, ProbeRequest]:
    """Return the calls for the warm-up file: each signature with one sequence, the longest, and with the largest batch.

    Args:
        examples: serialized tf.Examples; without any there is no call.
        dataset: of the model.
        batch_size: sequences in the largest batch; some come again where there are fewer.
        signatures: of the model.
        serving_step: whether that signature is called, too.
    """
    if not examples:
        return {}
    ordered = by_length(examples, dataset)
    requests = {}
    for part in (ordered[-1:], filled(ordered, batch_size)):
        padded = tensors(part, dataset)
        requests[f"{DEFAULT} {len(part)}"] = ProbeRequest(DEFAULT, text_batch(part))
        requests[f"{TENSORS} {len(part)}"] = ProbeRequest(TENSORS, padded)
        if serving_step and (size := state_size(signatures)):
            requests[f"{STEP} {len(part)}"] = ProbeRequest(STEP, with_state(padded, size))
    return requests


def read_signatures(model: Path) -> dict[str, Signature]:
    """Return the signatures in a SavedModel's file; empty if it can't be read, which the loader then reports."""
    file = model / "saved_model.pb"
    try:
        graphs = parse_saved_model(file.read_bytes()).meta_graphs
    except (OSError, DecodeError):
        return {}
    return next((signatures_of(graph) for graph in graphs if "serve" in graph.meta_info_def.tags), {})
