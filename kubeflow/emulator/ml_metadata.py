"""Round trip of an output through ML Metadata to the steps after.

Types are lost on the way: the driver sends ``{"instanceSchema": ""}``. References as in ``backends``.
"""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from noisy_gru.kubeflow.emulator.backends import Backend
from noisy_gru.kubeflow.emulator.errors import TaskError

# Generated code, of which type checkers see nothing.
_proto: Any = pipeline_spec_pb2
_struct: Any = struct_pb2
_TYPE_KINDS = ("schema_title", "instance_schema")


def recorded(artifact: Any, output: str, number: int, backend: Backend, *, imported: bool = False) -> Any:
    """Return an output of a step as the driver sends it to the steps after.

    Args:
        artifact: ``RuntimeArtifact`` as the launcher has it at the end.
        output: its name among the outputs.
        number: its id.
        backend: the release.
        imported: whether an importer made it.

    Returns:
        A ``RuntimeArtifact``: its name is the id (metadata/converter.go, 2.5.0:182, 2.15.0:187), its type nothing but
        an empty instance schema (metadata/client.go, 2.5.0:187 and 948, 2.15.0:200 and 1000, 2.17.0:257 and 1144).

    Raises:
        TaskError: ML Metadata can't keep it.
    """
    # component/launcher_v2.go, 2.15.0:943: anything else fails the step when its outputs are recorded.
    if artifact.type.WhichOneof("kind") not in _TYPE_KINDS:
        raise TaskError(f"output {output}: its type is neither a schema's title nor an instance schema")
    result = _proto.RuntimeArtifact(name=str(number), uri=artifact.uri)
    result.type.instance_schema = ""
    for key, value in artifact.metadata.fields.items():
        if key != "_kfp_workspace":
            result.metadata.fields[key].CopyFrom(_kept(value, output, key))
    result.metadata.SetInParent()
    if imported:
        # component/importer_launcher.go, 2.15.0:286.
        provider = artifact.uri.partition("://")[0]
        result.metadata.update({"store_session_info": _json({"Provider": provider, "Params": {"fromEnv": "true"}})})
        return result
    # metadata/client.go, 2.5.0:1040 and 1053, 2.15.0:1092 and 1105, 2.17.0:1236 and 1249.
    for key, text in (("display_name", output), ("store_session_info", _json(_store(backend)))):
        if key not in result.metadata.fields:
            result.metadata.fields[key].string_value = text
    return result


def _kept(value: Any, output: str, key: str) -> Any:
    """metadata/converter.go, 2.5.0:133, 2.15.0:138: Booleans become numbers, lists and mappings are wrapped."""
    result = _struct.Value()
    match value.WhichOneof("kind"):
        case "bool_value":
            result.number_value = float(value.bool_value)
        case "list_value":
            result.struct_value.fields["list"].CopyFrom(value)
        case "struct_value":
            result.struct_value.fields["struct"].CopyFrom(value)
        case "string_value" | "number_value":
            result.CopyFrom(value)
        case _:
            raise TaskError(f"output {output}: the property {key} is null, which ML Metadata can't keep")
    return result


def _store(backend: Backend) -> dict[str, Any]:
    parameters = {
        "accessKeyKey": "accesskey",
        "disableSSL": "true",
        "endpoint": backend.store_endpoint,
        "fromEnv": "false",
        **({"maxRetries": "5"} if backend.store_retries else {}),
        "region": "minio",
        "secretKeyKey": "secretkey",
        "secretName": "mlpipeline-minio-artifact",
    }
    return {"Provider": "minio", "Params": parameters}


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
