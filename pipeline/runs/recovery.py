"""Clean up after runs that were killed, interrupted or failed, before the next one.

TFX never uses the output of an unfinished execution, as ML Metadata has no artifact of it. But it leaves the execution
`RUNNING` and the half-written folders in place for ever. A failed run leaves one, too, if ML Metadata's disk was full.
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
# Before the id of an experiment's run of the steps up to Transform, which has no run record.
PREPARATION = "preparation-"
logger = logging.getLogger(__name__)


def clear_unfinished(directory: RunDirectory, connection: Any) -> list[int]:
    """Delete the output of unfinished executions of this root's runs, and mark them as canceled.

    Args:
        directory: root of the runs, whose lock is held, so no run is in progress.
        connection: connection of ML Metadata (``ConnectionConfig``).

    Returns:
        Ids of the executions, ascending.
    """
    store = MetadataStore(connection)
    # By run: a metadata server may know runs of other roots, which may be in progress.
    ended = [record.run_id for record in directory.records() if record.status in ("killed", "interrupted", "failed")]
    # Those of experiments are removed at their end, and none is in progress now.
    preparations = sorted(directory.experiments.glob(f"{PREPARATION}*"))
    ended += [path.name for path in preparations]
    contexts = [store.get_context_by_type_and_name(_RUN_CONTEXT, run_id) for run_id in ended]
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
                logger.info("deleting %s, left by a killed, interrupted or failed run", folder)
                shutil.rmtree(folder)
        # Last, so that a kill leaves it to the next run.
        execution.last_known_state = _mlmd.Execution.CANCELED
        store.put_executions([execution])
    for path in preparations:
        path.unlink()
    return sorted(execution.id for execution in unfinished)
