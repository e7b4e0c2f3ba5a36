"""Clears up after runs that were killed, interrupted, or failed to write, before the next one goes on.

TFX never takes what an unfinished execution wrote, as ML Metadata knows no artifact of it. But it leaves the execution
`RUNNING` and the half-written folders where they are, for ever. A failed run leaves one, too, where ML Metadata's own
disk was full.
"""

from __future__ import annotations

import logging
import shutil
from typing import Any

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from noisy_gru.pipeline.runs.run_directory import RunDirectory

# Generated code, of which type checkers see nothing.
_mlmd: Any = metadata_store_pb2
_RUN_CONTEXT = "pipeline_run"
logger = logging.getLogger(__name__)


def clear_unfinished(directory: RunDirectory, connection: Any) -> list[int]:
    """Deletes what unfinished executions of this root's runs wrote, and marks them as canceled.

    Args:
        directory: the root, whose lock is held: no run goes on.
        connection: of ML Metadata (``ConnectionConfig``).

    Returns:
        The executions' ids, rising.
    """
    store = MetadataStore(connection)
    # By run: a metadata server may know other roots' runs, which may go on.
    ended = ("killed", "interrupted", "failed")
    cut_off = [record.run_id for record in directory.records() if record.status in ended]
    contexts = [store.get_context_by_type_and_name(_RUN_CONTEXT, run_id) for run_id in cut_off]
    unfinished = [
        execution
        for context in contexts
        if context is not None
        for execution in store.get_executions_by_context(context.id)
        if execution.last_known_state == _mlmd.Execution.RUNNING
    ]
    for execution in unfinished:
        for pattern in (f"*/*/{execution.id}", f"*/.system/executor_execution/{execution.id}"):
            for folder in directory.artifacts.glob(pattern):
                logger.info("deleting %s, which a run that was cut off left", folder)
                shutil.rmtree(folder)
        # Last, so that a kill leaves it to the next run.
        execution.last_known_state = _mlmd.Execution.CANCELED
        store.put_executions([execution])
    return sorted(execution.id for execution in unfinished)
