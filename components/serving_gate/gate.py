"""Judges an exported model: every check, in order, and why it is refused if it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from noisy_gru.components.serving_gate.audit import audit, operations
from noisy_gru.components.serving_gate.compare import TOLERANCE, identical, largest_difference
from noisy_gru.components.serving_gate.contract import DEFAULT, TENSORS, broken_promises
from noisy_gru.components.serving_gate.probe import Question, Testimony, observe_apart
from noisy_gru.components.serving_gate.report import Check, Report
from noisy_gru.components.serving_gate.sequences import Batch, batches, choose
from noisy_gru.components.serving_gate.variables import read_variables, unwanted
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ModelError
from noisy_gru.trainer.saved_model_proto import parse_saved_model

_SHOWN = 5


@dataclass(frozen=True)
class Reference:
    """The Keras side: what the exported model has to agree with.

    Attributes:
        from_examples: answers serialized tf.Examples.
        parameters: values of the model's weights; None if it isn't known.
        scale: of `predictions`, in the units of the data.
    """

    from_examples: Callable[[list[bytes]], Mapping[str, np.ndarray]]
    parameters: int | None = None
    scale: np.ndarray | float = 1.0


def judge(
    model: Path, examples: list[bytes], dataset: DatasetConfig, load_reference: Callable[[], Reference]
) -> Report:
    """All checks of a SavedModel.

    Args:
        model: its folder.
        examples: serialized, held-out tf.Examples.
        dataset: of the model.
        load_reference: gives the Keras side. Whatever it raises is a reason to refuse the model.
    """
    parts = batches(choose(examples, dataset), dataset) if examples else []
    questions = [question for part in parts for question in _questions(part)]
    seen = observe_apart(model, questions)
    report = Report(str(model), [_load(seen)])
    checks = report.checks
    checks.append(_operations(model, seen))
    reference: Reference | None = None
    problem = ""
    try:
        reference = load_reference()
    except Exception as error:  # noqa: BLE001 (whatever is wrong with the Keras side, the report has to say it)
        problem = f"the Keras model could not be loaded to compare with: {type(error).__name__}: {error}"
    checks.append(_variables(model, reference))
    if seen.error:
        return report
    broken = broken_promises(seen.signatures, dataset)
    checks.append(Check("signatures", ", ".join(seen.signatures) or "none", broken))
    if broken:
        return report
    if not parts:
        checks.append(Check("answers", "none", ["the test split holds no sequence to ask the model with"]))
        return report
    failed = [f"{part}: {answer}" for part, answer in _failures(parts, seen)]
    checks.append(Check("answers", f"{len(questions)} questions, each asked twice", failed[:_SHOWN]))
    if failed:
        return report
    checks.append(_repeated(questions, seen))
    scale = reference.scale if reference is not None else 1.0
    checks.append(_agreement(parts, seen, scale))
    checks.append(_parity(parts, seen, reference, problem))
    return report


def _questions(part: Batch) -> list[Question]:
    examples = np.empty(len(part.examples), dtype=object)
    examples[:] = part.examples
    return [Question(DEFAULT, {"examples": examples}), Question(TENSORS, part.tensors)]


def _load(seen: Testimony) -> Check:
    if seen.error:
        return Check("load", "not loadable as TF Serving loads it", [seen.error])
    return Check("load", "loaded in a Session, in a process without TensorFlow's Python")


def _operations(model: Path, seen: Testimony) -> Check:
    file = model / "saved_model.pb"
    if not file.is_file():
        return Check("operations", "nothing to look through", [f"{file} is missing"])
    try:
        graphs = parse_saved_model(file.read_bytes()).meta_graphs
    except DecodeError as error:
        return Check("operations", "nothing to look through", [f"{file} is not a SavedModel: {error}"])
    bad = [str(operation) for graph in graphs for operation in audit(graph, seen.stateful)]
    count = sum(1 for graph in graphs for _ in operations(graph))
    more = [f"and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
    return Check("operations", f"{count} operations", [*bad[:_SHOWN], *more], {"operations": count, "bad": len(bad)})


def _variables(model: Path, reference: Reference | None) -> Check:
    try:
        variables = read_variables(model)
    except ModelError as error:
        return Check("variables", "not readable", [str(error)])
    values = sum(variable.values for variable in variables)
    problems = unwanted(variables, reference.parameters if reference is not None else None)
    return Check("variables", f"{len(variables)} variables, {values} values", problems, {"values": values})


def _failures(parts: list[Batch], seen: Testimony) -> list[tuple[str, str]]:
    names = [f"{part.name}, {signature}" for part in parts for signature in (DEFAULT, TENSORS)]
    return [
        (name, answer) for answers in seen.rounds for name, answer in zip(names, answers, strict=True)
        if isinstance(answer, str)
    ]  # fmt: skip


def _answers(seen: Testimony, index: int, round_: int = 0) -> dict[str, np.ndarray]:
    answers = seen.rounds[round_][index]
    return {} if isinstance(answers, str) else answers


def _repeated(questions: list[Question], seen: Testimony) -> Check:
    differ = [
        index for index in range(len(questions)) if not identical(_answers(seen, index), _answers(seen, index, 1))
    ]
    problems = []
    if differ:
        apart = max(largest_difference(_answers(seen, index), _answers(seen, index, 1), 1.0) for index in differ)
        problems.append(
            f"{len(differ)} of {len(questions)} questions had another answer when asked again (apart by {apart:.3g}): "
            "noise or dropout is on, or the model keeps state"
        )
    return Check("repeated calls", "differ" if differ else "equal bit for bit", problems)


def _agreement(parts: list[Batch], seen: Testimony, scale: np.ndarray | float) -> Check:
    worst, where = 0.0, ""
    for index, part in enumerate(parts):
        apart = largest_difference(_answers(seen, 2 * index + 1), _answers(seen, 2 * index), scale)
        if apart > worst:
            worst, where = apart, part.name
    problems = []
    if worst > TOLERANCE:
        problems.append(f"{TENSORS} and {DEFAULT} differ by {worst:.3g} for {where}; at most {TOLERANCE:g} is allowed")
    return Check("both signatures", f"differ by {worst:.3g}", problems, {"largest_difference": worst})


def _parity(parts: list[Batch], seen: Testimony, reference: Reference | None, problem: str) -> Check:
    if reference is None:
        return Check("parity with Keras", "not compared", [problem])
    worst, where = 0.0, ""
    for index, part in enumerate(parts):
        try:
            expected = reference.from_examples(part.examples)
        except Exception as error:  # noqa: BLE001 (as above)
            problem = f"the Keras model could not answer {part.name}: {type(error).__name__}: {error}"
            return Check("parity with Keras", "not compared", [problem])
        apart = largest_difference(_answers(seen, 2 * index), expected, reference.scale)
        if apart > worst:
            worst, where = apart, part.name
    problems = []
    if worst > TOLERANCE:
        problems.append(
            f"the served model and the Keras model differ by {worst:.3g} for {where}; at most {TOLERANCE:g} is allowed"
        )
    return Check("parity with Keras", f"differs by {worst:.3g}", problems, {"largest_difference": worst})
