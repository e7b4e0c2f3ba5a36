"""Private names of Beam, as read in Beam 2.77 (apache_beam/options/pipeline_options.py)."""

from __future__ import annotations

from typing import Any


def share_options(one: Any, other: Any) -> bool:
    """Return whether two ``PipelineOptions`` are views of the same options: setting one of them changes both."""
    return one._all_options is other._all_options
