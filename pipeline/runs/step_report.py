"""Read the key numbers of a finished step from its artifacts, into the run record and one line of text.

A cached step has the artifacts of an earlier run, and so its numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisy_gru.pipeline.runs.run_record import RowCounts, RunRecord, StepRecord
from noisy_gru.schema.span_patterns import format_spans

if TYPE_CHECKING:
    from noisy_gru.pipeline.runs.local_runner import StepOutput, StepResult

Outputs = dict[str, list["StepOutput"]]
_METRICS_SHOWN = 4


def report(result: StepResult, record: RunRecord) -> None:
    """Complete the running step of a record, the last one, with duration, status and numbers of its result."""
    summary, numbers = "", {}
    reader = _READERS.get(result.name)
    if reader is not None and result.outputs:
        summary, numbers = reader(dict(result.outputs), record)
    record.steps[-1] = StepRecord(
        name=result.name, status=result.status, seconds=round(result.seconds, 3), summary=summary, numbers=numbers
    )
    record.artifacts[result.name] = {key: [each.uri for each in found] for key, found in result.outputs.items()}


def sequences_of(result: StepResult) -> dict[str, int]:
    """Return the sequences of each split, as the step of ingestion counted them."""
    return _json(_one(dict(result.outputs), "ingestion_report"), "ingestion_report.json")["sequences"]["by_split"]


Report = tuple[str, dict[str, Any]]


def _one(outputs: Outputs, key: str) -> StepOutput:
    found = outputs.get(key, [])
    if len(found) != 1:
        raise ValueError(f"expected one artifact {key}, found {len(found)}; the step's outputs are {sorted(outputs)}")
    return found[0]


def _json(output: StepOutput, name: str) -> dict[str, Any]:
    return json.loads((Path(output.uri) / name).read_text(encoding="utf-8"))


def _ingestion(outputs: Outputs, record: RunRecord) -> Report:
    ingestion = _json(_one(outputs, "ingestion_report"), "ingestion_report.json")
    rows, sequences = ingestion["rows"], ingestion["sequences"]
    reasons = {what: {k: v for k, v in rows[what].items() if k != "total"} for what in ("dropped", "quarantined")}
    record.rows = RowCounts(read=rows["read"], kept=rows["kept"], **reasons)
    record.sequences = sequences["by_split"]
    record.spans = ingestion.get("spans", [])
    # The hashes; a record of an earlier release has the files' numbers of rows there.
    record.files = ingestion["files"] if isinstance(ingestion.get("files"), list) else []
    splits = ", ".join(f"{split} {count:,}" for split, count in record.sequences.items())
    set_aside = f"{rows['quarantined']['total']:,} quarantined" if rows["quarantined"]["total"] else ""
    dropped = f"{rows['dropped']['total']:,} dropped" if rows["dropped"]["total"] else ""
    text = f"{rows['read']:,} rows, {', '.join(filter(None, (set_aside, dropped))) or 'all kept'}; sequences: {splits}"
    spans = _spans_read(record.spans, ingestion.get("window"))
    rounded = "".join(f"; {finding}" for finding in ingestion.get("precision", []))
    return f"{spans}{text}{rounded}", {"rows": rows, "sequences": sequences}


def _spans_read(spans: list[dict[str, Any]], window: dict[str, Any] | None) -> str:
    """Format the spans read, with gaps and missing spans of the window."""
    if not spans or window is None:
        return ""
    text = format_spans([span["span"] for span in spans])
    odd = [f"no {window['gaps']}"] if window["gaps"] else []
    if window["asked"] is not None and window["asked"] > window["read"]:
        odd.append(f"{window['read']} of {window['asked']} requested")
    noun, remark = "span" if len(spans) == 1 else "spans", f" ({', '.join(odd)})" if odd else ""
    return f"{noun} {text}{remark}: "


def _anomalies(outputs: Outputs, record: RunRecord) -> Report:
    return "no anomalies", {"anomalies": 0}


def _training(outputs: Outputs, record: RunRecord) -> Report:
    training = _json(_one(outputs, "model_run"), "training.json")
    hidden = ("epoch", "learning_rate", "stddev_")  # beginnings of names
    final = {name: value for name, value in training["final"].items() if not name.startswith(hidden)}
    shown = "  ".join(f"{name} {value:.4g}" for name, value in list(final.items())[:_METRICS_SHOWN])
    text = f"{training['epochs']} epochs, best {training['best_epoch']}: {shown}; {training['parameters']:,} parameters"
    if training.get("members"):
        text = f"{len(training['members'])} members; {text}"
    noise = training.get("noise")
    if noise is not None:
        text += f"; noise {noise['kind']}: " + ", ".join(f"{value:.3g}" for value in noise["stddev"])
        if "scale" in noise:
            text += f" (x{noise['scale']:g})"
    record.warm_start = training.get("warm_start")
    text += _started(record.warm_start)
    numbers = {key: training[key] for key in ("epochs", "best_epoch", "parameters", "seed")}
    return text, numbers | {"final": final} | ({"noise": noise} if noise is not None else {})


def _started(warm_start: dict[str, Any] | None) -> str:
    """Format the model that training started from; empty without a warm start."""
    if warm_start is None:
        return ""
    if not warm_start["used"]:
        return f"; started with new weights: {'; '.join(warm_start['reasons'])}"
    version = warm_start["base"].get("version")
    proof = warm_start["proof"]
    proved = f" ({proof['monitor']} {proof['warm']:.4g}, with new weights {proof['cold']:.4g})" if proof else ""
    return f"; started from {f'version {version}' if version else 'the base model'}{proved}"


def _base(outputs: Outputs, record: RunRecord) -> Report:
    properties = _one(outputs, "model").properties
    return str(properties.get("note", "")), {"present": properties.get("present") == 1}


def _latest(outputs: Outputs, record: RunRecord) -> Report:
    properties = _one(outputs, "model").properties
    present = properties.get("present") == 1
    return str(properties.get("note", "")), {"version": int(properties["version"]) if present else None}


def _evaluation(outputs: Outputs, record: RunRecord) -> Report:
    from noisy_gru.components.evaluation.evaluation_summary import read_evaluation

    latest = next((step.numbers.get("version") for step in record.steps if step.name == "LatestBlessed"), None)
    found = read_evaluation(_one(outputs, "evaluation").uri, *([f"version {latest}"] if latest else []))
    record.metrics = found.metrics
    record.slices = found.slices
    record.baseline = record.previous = found.baseline
    record.comparisons = [asdict(each) for each in found.comparisons]
    record.warnings += [f"Evaluator: {warning}" for warning in found.warnings]
    record.refusals += [f"Evaluator: {reason}" for reason in found.reasons]
    shown = {name: value for name, value in found.metrics.items() if name != "example_count"}
    text = "  ".join(
        f"{name} {value:.4g}{f' (published: {found.baseline[name]:.4g})' if name in found.baseline else ''}"
        for name, value in list(shown.items())[:_METRICS_SHOWN]
    )
    verdict = "passed" if found.blessed else f"REFUSED: {'; '.join(found.reasons)}"
    beside = [f"{len(found.warnings)} warnings (runs show)"] if found.warnings else []
    numbers = {"blessed": found.blessed, "metrics": found.metrics, "baseline": found.baseline}
    return "; ".join([text, verdict, *beside]), numbers


def _serving(outputs: Outputs, record: RunRecord) -> Report:
    from noisy_gru.components.serving_gate.report import read_report

    found = read_report(Path(_one(outputs, "report").uri))
    record.refusals += [f"ServingGate: {problem}" for problem in found["problems"]]
    if not found["blessed"]:
        return f"REFUSED: {'; '.join(found['problems'])}", {"blessed": False, "problems": found["problems"]}
    numbers = {check["name"]: check["numbers"] for check in found["checks"] if check["numbers"]}
    return f"passed; {found['summary']}", {"blessed": True, "checks": len(found["checks"]), "numbers": numbers}


def _reference(outputs: Outputs, record: RunRecord) -> Report:
    from noisy_gru.components.reference_gate.verdict import read_reference_verdict

    found = read_reference_verdict(Path(_one(outputs, "blessing").uri))
    if not found.accepted:
        record.refusals.append(f"ReferenceGate: {found.text}")
    return f"{'passed' if found.accepted else 'REFUSED'}: {found.text}", asdict(found)


def _publishing(outputs: Outputs, record: RunRecord) -> Report:
    properties = _one(outputs, "pushed_model").properties
    if properties.get("pushed") != 1:
        record.blessed = False
        reason = str(properties.get("reason", "not published"))
        # The steps that refused it have given their reasons.
        record.refusals = record.refusals or [f"Pusher: {reason.removeprefix('not published: ')}"]
        return reason, {"published": False}
    record.blessed = True
    record.version = int(properties["pushed_version"])
    record.published_path = str(properties["pushed_destination"])
    stable = int(properties.get("stable_version", record.version))
    text = str(properties.get("note", f"version {record.version}"))
    return text, {"published": True, "version": record.version, "stable": stable}


_READERS: dict[str, Callable[[Outputs, RunRecord], Report]] = {
    "SequenceExampleGen": _ingestion,
    "AnomalyGate": _anomalies,
    "Trainer": _training,
    "WarmStartBase": _base,
    "LatestBlessed": _latest,
    "Evaluator": _evaluation,
    "ReferenceGate": _reference,
    "ServingGate": _serving,
    "Pusher": _publishing,
}
