"""Private names of TFX, as read in TFX 1.21 (tfx/dsl/components/base/base_executor.py, base_beam_executor.py,
tfx/orchestration/kubeflow/v2/compiler_utils.py). Importing this module imports no TFX.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Execution:
    """The pipeline and run that an executor works for; empty where it was started without."""

    pipeline: str = ""
    run_id: str = ""


def execution_of(executor: Any) -> Execution:
    """Return the execution of an executor; TFX hands its context to the constructor and has no public name for it."""
    context = executor._context
    if context is None:
        return Execution()
    return Execution(context.pipeline_info.id if context.pipeline_info else "", context.pipeline_run_id or "")


def log_startup(executor: Any, inputs: Any, outputs: Any, properties: Any) -> None:
    """Log what an executor was started with, as TFX's own executors do first."""
    executor._log_startup(inputs, outputs, properties)


def make_beam_pipeline(executor: Any) -> Any:
    """Return a Beam pipeline with the options that TFX gave the executor."""
    return executor._make_beam_pipeline()


def temporary_folder(executor: Any) -> str | None:
    """Return the folder of this machine that TFX removes after the step; None for an executor started without."""
    try:
        folder = executor._get_tmp_dir()
    except RuntimeError:
        return None
    return None if "://" in folder else folder


def standard_artifact_types() -> Container[type]:
    """Return the artifact types that TFX's compiler for Kubeflow knows a schema of."""
    from tfx.orchestration.kubeflow.v2 import compiler_utils

    return compiler_utils._SUPPORTED_STANDARD_ARTIFACT_TYPES
