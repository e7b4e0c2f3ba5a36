"""The artifact type of ingestion's report."""

from tfx.types.artifact import Artifact


class IngestionReportArtifact(Artifact):
    """``ingestion_report.json``, and ``quarantine/*.jsonl`` with the rows set aside; see docs/data-formats.md."""

    TYPE_NAME = "noisy_gru.IngestionReport"
