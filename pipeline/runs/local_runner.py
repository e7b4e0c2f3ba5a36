"""Run the pipeline on this machine, one step after the other, through TFX's launcher.

Like TFX's LocalDagRunner, and notifies an observer of every step: its start, whether its result was cached, its
duration and its artifacts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils, tfx_runner

from noisy_gru.pipeline.config.metadata_checks import password_problem
from noisy_gru.pipeline.config.pipeline_config import MetadataConfig
from noisy_gru.pipeline.runs.metadata_server import metadata_handle
from noisy_gru.pipeline.runs.run_record import StepStatus
from noisy_gru.schema.errors import ConfigError

# Generated code, of which type checkers see nothing.
_mlmd: Any = metadata_store_pb2


@dataclass(frozen=True)
class StepOutput:
    """An output artifact of a step: its URI and properties."""

    uri: str
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class StepResult:
    """A successful step; ``outputs`` by name, for a cached step those of the earlier run."""

    name: str
    status: StepStatus
    seconds: float
    outputs: Mapping[str, list[StepOutput]]


class Observer(Protocol):
    """Receives the progress of a run."""

    def started(self, name: str, number: int, total: int) -> None:
        """Called when step ``number`` of ``total`` starts."""

    def finished(self, result: StepResult) -> None:
        """Called when a step has succeeded."""


class StepFailedError(Exception):
    """TFX could not start a step; the message holds the state in ML Metadata."""


class LocalRunner(tfx_runner.IrBasedRunner):
    """Run a pipeline in this process; exceptions of executors are raised unchanged.

    Args:
        run_id: name of the run in ML Metadata.
        observer: notified of every step.
        clock: returns seconds.
        last: name of the last step to run; None: all.
    """

    def __init__(
        self,
        run_id: str,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
        last: str | None = None,
    ):
        self._run_id = run_id
        self._observer = observer
        self._clock = clock
        self._last = last

    def run_with_ir(self, pipeline: Any, run_options: Any = None, **_: Any) -> None:
        """Run a compiled pipeline (``pipeline_pb2.Pipeline``); partial runs are not supported."""
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_id}
        )
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        connection = deployment.metadata_connection_config
        connection = getattr(connection, connection.WhichOneof("connection_config"))
        nodes = [node.pipeline_node for node in pipeline.nodes]
        if self._last is not None:
            # Topological order: nothing after it is needed for it.
            nodes = nodes[: [node.node_info.id for node in nodes].index(self._last) + 1]
        for number, node in enumerate(nodes, start=1):
            name = node.node_info.id
            self._observer.started(name, number, len(nodes))
            begun = self._clock()
            info = launcher.Launcher(
                pipeline_node=node,
                mlmd_connection=metadata_handle(connection),
                pipeline_info=pipeline.pipeline_info,
                pipeline_runtime_spec=pipeline.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, name),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
            ).launch()
            execution_id = info.execution_id if info else None
            status, outputs = _outcome(metadata_handle(connection), name, execution_id)
            self._observer.finished(StepResult(name, status, self._clock() - begun, outputs))


def _outcome(
    connection: metadata.Metadata, name: str, execution_id: int | None
) -> tuple[StepStatus, dict[str, list[StepOutput]]]:
    """Return status and outputs of a step from ML Metadata: the launcher raises nothing if it can't resolve inputs."""
    if execution_id is None:
        return "skipped", {}
    with connection as handle:
        (execution,) = handle.store.get_executions_by_id([execution_id])
        state = execution.last_known_state
        events = [
            event
            for event in handle.store.get_events_by_execution_ids([execution_id])
            if event.type in (_mlmd.Event.OUTPUT, _mlmd.Event.PENDING_OUTPUT)
        ]
        artifacts = {a.id: a for a in handle.store.get_artifacts_by_id([event.artifact_id for event in events])}
    if state == _mlmd.Execution.CACHED:
        status: StepStatus = "cached"
    elif state == _mlmd.Execution.COMPLETE:
        status = "complete"
    else:
        raise StepFailedError(f"{name} ended as {_mlmd.Execution.State.Name(state)}; see the log")
    outputs: dict[str, list[StepOutput]] = {}
    for event in events:
        artifact = artifacts[event.artifact_id]
        values = {**artifact.properties, **artifact.custom_properties}
        properties = {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}
        outputs.setdefault(event.path.steps[0].key, []).append(StepOutput(artifact.uri, properties))
    return status, outputs


def connection_config(config: MetadataConfig, sqlite: Path) -> Any:
    """Return the connection of ML Metadata: the server of the configuration, else a SQLite file.

    Raises:
        ConfigError: the environment variable of the password is not set.
    """
    if config.host is None:
        return metadata.sqlite_metadata_connection_config(str(sqlite))
    password = ""
    if config.password_env is not None:
        if problem := password_problem(config):
            raise ConfigError(problem)
        password = os.environ[config.password_env]
    if config.kind == "postgresql":
        return _mlmd.ConnectionConfig(
            postgresql=_mlmd.PostgreSQLDatabaseConfig(
                host=config.host,
                port=str(config.server_port),
                dbname=config.database,
                user=_connection_value(config.user or ""),
                password=_connection_value(password),
            )
        )
    return metadata.mysql_metadata_connection_config(
        host=config.host,
        port=config.server_port,
        database=config.database or "",
        username=config.user or "",
        password=password,
    )


def _connection_value(text: str) -> str:
    """Quote a value of libpq's connection string, into which ML Metadata writes it as it is.

    A password with a blank would else end up in libpq's error message.
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'" if text else ""
