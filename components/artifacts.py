"""The ingestion report's artifact type, and the custom properties of artifacts that more than one step uses."""

from __future__ import annotations

from typing import Any

from tfx.types.artifact import Artifact

# Of the model that LatestBlessed finds: whether there is one, its version, and its version with its fingerprint.
PRESENT = "present"
VERSION = "version"
IDENTITY = "identity"
# Of the Evaluator's blessing: the metrics of the test split, as JSON.
METRICS = "metrics"
# Of an artifact that a pod has only a copy of: where the artifact is kept.
ORIGIN = "origin"


class IngestionReportArtifact(Artifact):
    """``ingestion_report.json``, and ``quarantine/*.jsonl`` with the rows set aside; see docs/data-formats.md."""

    TYPE_NAME = "noisy_gru.IngestionReport"


def is_present(artifact: Any) -> bool:
    """Return whether an artifact of `LatestBlessed` or `WarmStartBase` holds a model."""
    return artifact.get_int_custom_property(PRESENT) == 1
