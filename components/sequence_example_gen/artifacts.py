"""The artifact type of ingestion's account."""

from tfx.types.artifact import Artifact


class IngestionAccount(Artifact):
    """``account.json``, and ``quarantine/*.jsonl`` with the rows and windows set aside; see docs/data-formats.md."""

    TYPE_NAME = "noisy_gru.IngestionAccount"
