"""A run of the pipeline as a run of MLflow: parameters, metrics by epoch, report, and the published model.

A run that is logged again is the same run of MLflow, found by its tag ``noisy_gru.run_id``.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from noisy_gru.pipeline.config.tracking_config import MlflowConfig
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.pipeline.tracking.run_values import history_of, parameters_of, results_of
from noisy_gru.schema.errors import UserError

RUN_TAG, VERSION_TAG = "noisy_gru.run_id", "noisy_gru.version"
_URI = "MLFLOW_TRACKING_URI"
# Limits of MLflow's REST API for one request, and for a parameter's value.
_PARAMETERS, _METRICS, _LONGEST = 100, 1000, 6000
_STATUS = {"succeeded": "FINISHED", "refused": "FINISHED", "failed": "FAILED", "running": "RUNNING"}
# By default MLflow tries for minutes.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


def log_run(config: MlflowConfig, record: RunRecord, directory: RunDirectory) -> str:
    """Log a run that has ended; return the id of MLflow's run.

    Args:
        config: where to.
        record: of the run.
        directory: root of the run.

    Raises:
        UserError: no server is known, or it refused.
    """
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    uri = config.uri or os.environ.get(_URI)
    if not uri:
        raise UserError(f"tracking.mlflow: expected `uri`, or the environment variable {_URI}; neither is set")
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        return _log(MlflowClient(uri, uri), config, record, directory)
    except MlflowException as error:
        raise UserError(f"tracking.mlflow: {error}") from error


def _log(client: Any, config: MlflowConfig, record: RunRecord, directory: RunDirectory) -> str:
    from mlflow.entities import Metric, Param

    name = config.experiment or record.pipeline
    experiment = client.get_experiment_by_name(name)
    number = client.create_experiment(name) if experiment is None else experiment.experiment_id
    logged = client.search_runs([number], f"tags.`{RUN_TAG}` = '{record.run_id}'", max_results=1)
    began = _milliseconds(record.started)
    tags = {RUN_TAG: record.run_id, "noisy_gru.status": record.status, "noisy_gru.config_hash": record.config_hash}
    if record.version is not None:
        tags[VERSION_TAG] = str(record.version)
    if logged:
        run = logged[0]
        for key, value in tags.items():
            client.set_tag(run.info.run_id, key, value)
    else:
        run = client.create_run(number, began, tags, record.run_id)
        parameters = [Param(key, value[:_LONGEST]) for key, value in parameters_of(record.config)]
        for first in range(0, len(parameters), _PARAMETERS):
            client.log_batch(run.info.run_id, params=parameters[first : first + _PARAMETERS])
        single = ((name, value, 0) for name, value in results_of(record).items())
        found = (*history_of(record, directory), *single)
        metrics = [Metric(key, value, began, step) for key, value, step in found]
        for first in range(0, len(metrics), _METRICS):
            client.log_batch(run.info.run_id, metrics=metrics[first : first + _METRICS])
    here = run.info.run_id
    files = [directory.report_file(record.run_id)]
    if (record.config.get("report") or {}).get("examples") is not False:
        # An error in the record may quote data.
        files.append(directory.runs / f"{record.run_id}.json")
    for file in files:
        if file.is_file():
            client.log_artifact(here, str(file))
    if config.registered_model is not None and record.version is not None:
        _register(client, config.registered_model, record, run)
    client.set_terminated(here, _STATUS.get(record.status, "KILLED"), _milliseconds(record.finished or record.started))
    return str(here)


def _register(client: Any, name: str, record: RunRecord, run: Any) -> None:
    """Add the published version to MLflow's registry, once."""
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name)
    published = Path(record.published_path or "")
    known = client.search_model_versions(f"name = '{name}'")
    if any(each.tags.get(VERSION_TAG) == str(record.version) for each in known) or not published.is_dir():
        return
    client.log_artifacts(run.info.run_id, str(published), "model")
    source, tags = f"{run.info.artifact_uri}/model", {VERSION_TAG: str(record.version)}
    client.create_model_version(name, source, run.info.run_id, tags=tags)


def _milliseconds(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)
