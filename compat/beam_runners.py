"""Beam's runners behind a job server, which ask it to cancel their job if the run is interrupted.

Beam leaves the job to its cluster when the process that waits for it is interrupted: it goes on writing artifacts of a
step that has failed. As read in Beam 2.77 (apache_beam/runners/portability/portable_runner.py).
"""

from __future__ import annotations

import logging
from typing import Any

import grpc
from apache_beam.runners.portability import flink_runner, portable_runner, spark_runner
from apache_beam.runners.runner import PipelineState


class _CancelsItsJob(portable_runner.PortableRunner):
    """Base: the result that it returns cancels the job if waiting for it is interrupted."""

    def run_portable_pipeline(self, pipeline: Any, options: Any) -> Any:
        result: Any = super().run_portable_pipeline(pipeline, options)
        wait = result.wait_until_finish

        def wait_or_cancel(duration: int | None = None) -> Any:
            try:
                return wait(duration)
            except (KeyboardInterrupt, SystemExit):
                _cancel(result)
                raise

        result.wait_until_finish = wait_or_cancel
        return result


def _cancel(result: Any) -> None:
    try:
        if not PipelineState.is_terminal(result.state):
            result.cancel()
    except grpc.RpcError as error:
        logging.getLogger(__name__).warning("the job server did not cancel the job, which may still run: %s", error)


class PortableRunner(_CancelsItsJob):
    """Any job server."""


class FlinkRunner(_CancelsItsJob, flink_runner.FlinkRunner):
    """Flink's."""


class SparkRunner(_CancelsItsJob, spark_runner.SparkRunner):
    """Spark's."""
