"""Checks that compare outputs: repeated, across signatures, with Keras, with the training path, streamed with whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from noisy_gru.components.serving_gate.keras_reference import Expected, Reference
from noisy_gru.components.serving_gate.output_difference import TOLERANCE, identical, largest_difference
from noisy_gru.components.serving_gate.probe import Outputs, ProbeResult
from noisy_gru.components.serving_gate.probe_plan import HELD_OUT, ProbePlan, request_name
from noisy_gru.components.serving_gate.report import GateCheck
from noisy_gru.components.serving_gate.signature_contract import DEFAULT, STEP, TENSORS
from noisy_gru.components.serving_gate.stream_requests import stream_answers

PARITY, SKEW = "parity with Keras", "skew"


def repeated(plan: ProbePlan, seen: ProbeResult) -> GateCheck:
    """Check that a repeated request gives the same output bit for bit."""
    names = plan.repeated
    differ = [name for name in names if not identical(seen.answers(name), seen.answers(name, 1))]
    problems = []
    if differ:
        difference = max(largest_difference(seen.answers(name), seen.answers(name, 1), 1.0) for name in differ)
        problems.append(
            f"{len(differ)} of {len(names)} questions had another answer when asked again (apart by {difference:.3g}): "
            "noise or dropout is on, or the model keeps state"
        )
    return GateCheck("repeated calls", "differ" if differ else "equal bit for bit", problems)


def both_signatures(plan: ProbePlan, seen: ProbeResult, reference: Reference | None) -> GateCheck:
    """Check that both signatures give the same outputs."""
    pairs = [
        (part.name, seen.answers(request_name(part, TENSORS)), seen.answers(request_name(part, DEFAULT)))
        for part in plan.parts
    ]
    worst, where = _worst(pairs, reference, both_rounded=True)
    return _check("both signatures", f"{TENSORS} and {DEFAULT}", worst, where)


def parity(plan: ProbePlan, seen: ProbeResult, expected: Expected) -> GateCheck:
    """Check the parity of the served model with the Keras model."""
    given = {part.name: seen.answers(request_name(part, DEFAULT)) for part in plan.parts}
    return _with_keras(PARITY, "parity", given, expected, expected.from_examples, "the Keras model")


def skew(plan: ProbePlan, seen: ProbeResult, expected: Expected) -> GateCheck:
    """Check the skew between serving and training's decoder, Transform and model, on raw sequences."""
    name = f"{len(plan.held_out)} {HELD_OUT}"
    given, trained = {name: seen.answers(HELD_OUT)}, {name: expected.from_training}
    return _with_keras(SKEW, SKEW, given, expected, trained, "the way of training")


def streams(plan: ProbePlan, seen: ProbeResult, reference: Reference | None) -> GateCheck:
    """Check that pieces sent through `serving_step` give the outputs of the whole sequence."""
    pairs = [pair for cut in plan.streams for pair in stream_answers(cut, seen)]
    worst, where = _worst(pairs, reference, both_rounded=True)
    name, what = "streams", f"{STEP}, with the state it returned, and {TENSORS}, with the whole sequence,"
    return _check(name, what, worst, where, f"streams {worst:.2g}")


def _with_keras(
    name: str,
    short: str,
    given: Mapping[str, Outputs],
    expected: Expected,
    answers_of_parts: Mapping[str, Outputs | str],
    other: str,
) -> GateCheck:
    if expected.reference is None:
        return GateCheck(name, "not compared", [expected.problem])
    pairs = []
    for part, answers in given.items():
        other_answers = answers_of_parts[part]
        if isinstance(other_answers, str):
            return GateCheck(name, "not compared", [f"{other} could not answer {part}: {other_answers}"])
        pairs.append((part, answers, other_answers))
    worst, where = _worst(pairs, expected.reference)
    return _check(name, f"the served model and {other}", worst, where, f"{short} {worst:.2g}")


def _worst(
    pairs: Iterable[tuple[str, Outputs, Outputs]], reference: Reference | None, *, both_rounded: bool = False
) -> tuple[float, str]:
    """Return the largest difference, and the name of the first pair that has it."""
    scale, decision, relative = 1.0, None, False
    if reference is not None:
        scale, decision, relative = reference.scale, reference.decision, reference.relative
    # Two numbers that are equal to rounding may be rounded to neighbours.
    slack = (1.0 if both_rounded else 0.5) if reference is not None and reference.rounded else 0.0
    worst, where = 0.0, ""
    for name, a, b in pairs:
        difference = largest_difference(a, b, scale, decision, slack, relative)
        if difference > worst:
            worst, where = difference, name
    return worst, where


def _check(name: str, what: str, worst: float, where: str, headline: str = "") -> GateCheck:
    problems = []
    if worst > TOLERANCE:
        problems.append(f"{what} differ by {worst:.3g} for {where}; at most {TOLERANCE:g} is allowed")
    return GateCheck(name, f"differ by {worst:.3g} at the most", problems, {"largest_difference": worst}, headline)
