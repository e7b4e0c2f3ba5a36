"""What the tests of submit, schedule and status share: a compiled pipeline, a fake of the API, the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from noisy_gru.kubeflow.cluster.connection import Connection
from noisy_gru.kubeflow.commands import app
from tests.kubeflow.cluster.kfp_api import KfpApi
from tests.ports import free_port

SPEC: dict[str, Any] = {
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.16.1",
    "pipelineInfo": {"name": "vowels"},
    "root": {
        "dag": {"tasks": {}},
        "inputDefinitions": {
            "parameters": {
                "data_root": {"parameterType": "STRING", "defaultValue": "/mnt/data"},
                "span": {"parameterType": "STRING", "defaultValue": ""},
                "steps": {"parameterType": "NUMBER_INTEGER", "defaultValue": 0},
                "rate": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.5},
                "strict": {"parameterType": "BOOLEAN", "defaultValue": False},
                "slices": {"parameterType": "LIST", "isOptional": True},
            }
        },
    },
}
PLATFORM = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}}}}


def write(folder: Path, *documents: dict[str, Any], name: str = "pipeline.yaml") -> Path:
    """Writes a compiled pipeline, with a platform spec behind it."""
    path = folder / name
    path.write_text(yaml.safe_dump_all([*documents, PLATFORM]))
    return path


def changed(**parameters: dict[str, Any]) -> dict[str, Any]:
    """``SPEC`` with other parameters."""
    spec = json.loads(json.dumps(SPEC))
    spec["root"]["inputDefinitions"]["parameters"].update(parameters)
    return spec


def call(*arguments: object, api: KfpApi | None = None, env: dict[str, str] | None = None) -> Any:
    """Runs ``noisy-gru kubeflow …`` in this process."""
    host = ["--host", api.host] if api else []
    return CliRunner().invoke(app, [*map(str, arguments), *host], env=env, catch_exceptions=False)


def paths(api: KfpApi) -> list[tuple[str, str]]:
    """What was asked for, in order."""
    return [(each.method, each.path.removeprefix("/apis/v2beta1")) for each in api.requests]


def nobody() -> str:
    """An address at which nothing listens."""
    return f"http://127.0.0.1:{free_port()}"


def started(api: KfpApi, pipeline: Path) -> tuple[Any, Connection, str]:
    """Submits, and gives the client, the connection and the run's id."""
    answer = call("submit", pipeline, api=api)
    connection = Connection(host=api.host)
    return connection.open(), connection, answer.stdout.strip()
