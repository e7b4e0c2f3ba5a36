"""Judge an exported model: every check, in order, and why it is refused if it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from google.protobuf.message import DecodeError

from noisy_gru.components.serving_gate import agreement_checks
from noisy_gru.components.serving_gate.cost_checks import cost_checks
from noisy_gru.components.serving_gate.graph_audit import audit, operations
from noisy_gru.components.serving_gate.importance import importance_account, importance_plan
from noisy_gru.components.serving_gate.keras_reference import Reference, expected_answers
from noisy_gru.components.serving_gate.probe import Probe, ProbeResult
from noisy_gru.components.serving_gate.probe_plan import ProbePlan, make_probe_plan, read_signatures
from noisy_gru.components.serving_gate.report import GateCheck, GateReport
from noisy_gru.components.serving_gate.signature_contract import broken_promises, promised_inputs
from noisy_gru.components.serving_gate.variables_audit import read_variables, unwanted
from noisy_gru.registry.config import BudgetsConfig
from noisy_gru.saved_model.saved_model_proto import parse_saved_model
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ModelError

_SHOWN = 5
_TIMEOUT, _TIMEOUT_PER_REQUEST = 600.0, 2.0


def judge(
    model: Path,
    examples: list[bytes],
    dataset: DatasetConfig,
    load_reference: Callable[[], Reference],
    *,
    budgets: BudgetsConfig | None = None,
    serving_step: bool = False,
    name: str = "",
    explain_seconds: float = 0.0,
) -> GateReport:
    """Run all checks of a SavedModel.

    Args:
        model: its folder, with the warm-up file in it: what would be published.
        examples: serialized, held-out tf.Examples.
        dataset: of the model.
        load_reference: gives the Keras side. Whatever it raises is a reason to refuse the model.
        budgets: what the model may cost; None: nothing is refused for it.
        serving_step: whether the model should have that signature.
        name: of the model in the report; default: its folder.
        explain_seconds: that the importance of features and time steps may take; 0: it isn't measured.
    """
    budgets = budgets or BudgetsConfig()
    signatures = read_signatures(model)
    plan, importance = ProbePlan(), None
    if examples and not broken_promises(signatures, dataset, serving_step=serving_step):
        plan = make_probe_plan(model, examples, dataset, budgets, signatures, serving_step=serving_step)
        importance = importance_plan(examples, dataset, explain_seconds)
    timeout = _TIMEOUT + (_TIMEOUT_PER_REQUEST * budgets.requests if budgets.any else 0.0)
    timeout += 4 * explain_seconds
    with Probe(model, plan.questions, plan.timed, plan.repeated, importance) as probe:
        expected = expected_answers(load_reference, plan)
        seen = probe.observation(timeout=timeout)
    explained = None if seen.importance is None else importance_account(seen.importance)
    report = GateReport(name or str(model), [_load(seen)], explained)
    checks = report.checks
    checks.append(_operations(model, seen))
    reference = expected.reference
    checks.append(_variables(model, reference))
    if seen.error:
        return report
    broken = broken_promises(seen.signatures, dataset, serving_step=serving_step)
    checks.append(GateCheck("signatures", ", ".join(seen.signatures) or "none", broken))
    if broken:
        return report
    if not examples:
        checks.append(GateCheck("answers", "none", ["the test split holds no sequence to send to the model"]))
        return report
    checks.append(_warmup(plan, seen, list(promised_inputs(dataset, serving_step=serving_step))))
    requests = {**plan.answers, **plan.pieces}
    failed = seen.failures(requests)
    twice = f"{len(plan.repeated)} of them" if len(plan.repeated) < len(plan.questions) else "each"
    checks.append(
        GateCheck("answers", f"{len(requests)} questions, {twice} asked twice{plan.left_out}", failed[:_SHOWN])
    )
    if failed or not checks[-2].passed:
        return report
    checks += [agreement_checks.repeated(plan, seen), agreement_checks.both_signatures(plan, seen, reference)]
    checks.append(agreement_checks.parity(plan, seen, expected))
    if reference is not None:
        checks.append(agreement_checks.skew(plan, seen, expected))
    if plan.streams:
        checks.append(agreement_checks.streams(plan, seen, reference))
    checks += cost_checks(seen, budgets)
    return report


def _load(seen: ProbeResult) -> GateCheck:
    if seen.error:
        return GateCheck("load", "not loadable as TF Serving loads it", [seen.error])
    return GateCheck("load", "loaded in a Session, in a process without TensorFlow's Python")


def _operations(model: Path, seen: ProbeResult) -> GateCheck:
    file = model / "saved_model.pb"
    if not file.is_file():
        return GateCheck("operations", "nothing to look through", [f"{file} is missing"])
    try:
        graphs = parse_saved_model(file.read_bytes()).meta_graphs
    except DecodeError as error:
        return GateCheck("operations", "nothing to look through", [f"{file} is not a SavedModel: {error}"])
    bad = [str(operation) for graph in graphs for operation in audit(graph, seen.operations)]
    count = sum(1 for graph in graphs for _ in operations(graph))
    more = [f"and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
    return GateCheck(
        "operations", f"{count} operations", [*bad[:_SHOWN], *more], {"operations": count, "bad": len(bad)}
    )


def _variables(model: Path, reference: Reference | None) -> GateCheck:
    try:
        variables = read_variables(model)
    except ModelError as error:
        return GateCheck("variables", "not readable", [str(error)])
    values = sum(variable.values for variable in variables)
    problems = unwanted(variables, reference.parameters if reference is not None else None)
    return GateCheck("variables", f"{len(variables)} variables, {values} values", problems, {"values": values})


def _warmup(plan: ProbePlan, seen: ProbeResult, signatures: list[str]) -> GateCheck:
    if plan.warmup_problem:
        return GateCheck("warm-up", "not readable", [plan.warmup_problem])
    called = {question.signature for question in plan.warmup.values()}
    problems = [f"no warm-up request calls {name}" for name in signatures if name not in called]
    problems += [f"TF Serving would not load this version: {failure}" for failure in seen.failures(plan.warmup)]
    found = f"{len(plan.warmup)} requests, read back and answered"
    return GateCheck("warm-up", found, problems[:_SHOWN], {"requests": len(plan.warmup)})
