"""Run `RunReport`: nothing beyond the page, which the entrypoint writes after the executor."""

from __future__ import annotations

from typing import Any

from tfx.dsl.components.base import base_executor

CONFIG = "config"


class Executor(base_executor.BaseExecutor):
    """Executor of `RunReport`."""

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Leave all to ``run_report_page``: the step has no outputs but those that the page of the run shows."""
