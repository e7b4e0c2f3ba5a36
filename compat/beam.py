"""Private names of Beam, as read in Beam 2.77 (apache_beam/options/pipeline_options.py,
apache_beam/runners/portability/fn_api_runner/fn_runner.py).
"""

from __future__ import annotations

from typing import Any


def share_options(one: Any, other: Any) -> bool:
    """Return whether two ``PipelineOptions`` are views of the same options: setting one of them changes both."""
    return one._all_options is other._all_options


def worker_of(manager: Any) -> Any:
    """Return the handler of the worker that a ``BundleManager`` has chosen; None before it has."""
    return manager._worker_handler
