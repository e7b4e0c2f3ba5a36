"""Run the anomaly gate: read the anomalies of every split and stop, or write that there are none."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from noisy_gru.components.anomaly_gate.messages import Anomaly, explain, split_anomalies
from noisy_gru.schema.errors import AnomalyError

# Generated code, of which type checkers see nothing.
_proto: Any = anomalies_pb2

ANOMALIES = "anomalies"
REPORT = "report"
logger = logging.getLogger("noisy_gru.progress")


def read_anomalies(artifact: Artifact) -> list[Anomaly]:
    """Return the anomalies in all splits of an ExampleAnomalies."""
    return [finding for split, info in _read(artifact).items() for finding in split_anomalies(split, info)]


def _read(artifact: Artifact) -> dict[str, Any]:
    files = {
        split: Path(artifact_utils.get_split_uri([artifact], split)) / DEFAULT_FILE_NAME
        for split in artifact_utils.decode_split_names(artifact.split_names)
    }
    return {split: _proto.Anomalies.FromString(file.read_bytes()) for split, file in files.items()}


def check(anomalies: dict[str, Any]) -> None:
    """Raise if any split has an anomaly.

    Args:
        anomalies: ExampleValidator's answer for each split.

    Raises:
        AnomalyError: naming every feature, its splits, what the schema expects, what was found and what to do.
    """
    found: list[Anomaly] = [finding for split, info in anomalies.items() for finding in split_anomalies(split, info)]
    if not found:
        return
    count = len({finding.feature for finding in found})
    raise AnomalyError(
        f"The data doesn't match the schema: {count} feature{'s have' if count > 1 else ' has'} anomalies.\n"
        f"{explain(found)}\n"
        "Correct the data or the schema, then run again; nothing was trained."
    )


class Executor(base_executor.BaseExecutor):
    """Executor of `AnomalyGate`."""

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Read ``SchemaDiff.pb`` of every split of ``anomalies``; write ``report.txt``.

        Raises:
            AnomalyError: if any split has an anomaly.
        """
        anomalies = _read(artifact_utils.get_single_instance(input_dict[ANOMALIES]))
        check(anomalies)
        text = f"no anomalies in {', '.join(anomalies)}"
        (Path(artifact_utils.get_single_uri(output_dict[REPORT])) / "report.txt").write_text(text + "\n")
        logger.info(text, extra={"event": {"message": text}})
