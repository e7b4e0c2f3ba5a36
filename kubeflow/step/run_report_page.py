"""The report of a run on Kubeflow: the record that a local run would have, of the artifacts that the step was given.

>>> run_report_page(step).metrics  # doctest: +SKIP
{'run/published': True, 'run/rows_kept': 9961}
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from tfx.types.artifact import Artifact

from noisy_gru.components.artifacts import ORIGIN
from noisy_gru.components.retrain_planner.executor import PLAN_FILE
from noisy_gru.kubeflow.run_report.executor import CONFIG
from noisy_gru.kubeflow.run_report.inputs import SOURCES
from noisy_gru.kubeflow.step.page_outputs import Shown, html_page
from noisy_gru.pipeline.fingerprint import package_versions, source_fingerprint
from noisy_gru.pipeline.report.account import run_account
from noisy_gru.pipeline.report.page import run_page
from noisy_gru.pipeline.runs.local_runner import StepOutput, StepResult
from noisy_gru.pipeline.runs.run_record import RunRecord, StepRecord, text_hash, timestamp
from noisy_gru.pipeline.runs.step_report import report
from noisy_gru.schema.html_tables import html_list

_NO_TIMES = "Time and memory of each step are on Kubeflow's own page of the run."
logger = logging.getLogger(__name__)


class Step(Protocol):
    """A step that has run."""

    @property
    def inputs(self) -> Mapping[str, list[Artifact]]: ...
    @property
    def properties(self) -> Mapping[str, Any]: ...
    @property
    def run_id(self) -> str: ...


def run_report_page(step: Step) -> Shown:
    """Return the report, and whether the model was published; if it can't be made, a page that says why.

    The model is published by now, or isn't: a report that fails changes nothing of it.
    """
    try:
        record = run_record(step)
        account = cluster_account(record, step)
        rows = record.rows.kept if record.rows is not None else 0
        return Shown({"run/published": record.status == "succeeded", "run/rows_kept": rows}, run_page(account))
    except Exception as error:
        logger.warning("the report of this run was not made", exc_info=True)
        why = f"{type(error).__name__}: {error}. The steps' own pages show what they found."
        return Shown({}, html_page("The report of this run can't be made", [html_list([why])]))


def run_record(step: Step) -> RunRecord:
    """Return the record of the run, as far as the artifacts tell: no times, no memory, no log."""
    config: dict[str, Any] = json.loads(step.properties[CONFIG])
    now = timestamp(datetime.now(UTC))
    record = RunRecord(
        run_id=step.run_id,
        pipeline=config["name"],
        started=now,
        finished=now,
        config_path="",
        config_hash=text_hash(step.properties[CONFIG]),
        config=config,
        seed=config["seed"],
        root="",
        log="",
        fingerprint=source_fingerprint(),
        packages=package_versions(),
        pid=0,
        host="",
    )
    outputs: dict[str, dict[str, list[StepOutput]]] = {}
    for name, (producer, output) in SOURCES.items():
        for artifact in step.inputs.get(name, []):
            found = StepOutput(artifact.uri, _properties(artifact))
            outputs.setdefault(producer, {}).setdefault(output, []).append(found)
    for producer, found in outputs.items():
        record.steps.append(StepRecord(name=producer))
        report(StepResult(producer, "complete", 0.0, found), record)
    for artifact in step.inputs.get("plan", []):
        record.plan = json.loads((Path(artifact.uri) / PLAN_FILE).read_text(encoding="utf-8"))
    record.status = "succeeded" if record.blessed else "refused"
    return record


def cluster_account(record: RunRecord, step: Step) -> dict[str, Any]:
    """Return the account of a record: with the artifacts' places in the store, and without what a cluster hasn't."""
    account = run_account(record, Path())
    account["run"] |= {"command": f"run {record.run_id} on Kubeflow", "seconds": None}
    account["resources"], account["notes"]["resources"] = None, _NO_TIMES
    if account["lineage"] is not None:
        account["lineage"]["config_path"] = None
        places = {
            artifact.uri: artifact.get_string_custom_property(ORIGIN)
            for artifacts in step.inputs.values()
            for artifact in artifacts
        }
        account["lineage"]["artifacts"] = {
            producer: {name: [places.get(uri) or uri for uri in uris] for name, uris in outputs.items()}
            for producer, outputs in record.artifacts.items()
        }
    return account


def _properties(artifact: Artifact) -> dict[str, Any]:
    """Return the properties; what comes from Kubeflow is JSON, in which every number is a float."""
    message = artifact.mlmd_artifact
    values = {**message.properties, **message.custom_properties}
    plain = {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}
    as_json = (key for key, value in message.custom_properties.items() if value.HasField("struct_value"))
    return plain | {key: artifact.get_json_value_custom_property(key) for key in as_json}
