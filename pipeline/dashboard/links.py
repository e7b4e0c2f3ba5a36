"""Addresses of the dashboard's pages; names from records are quoted."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from noisy_gru.pipeline.report.blocks import Link


def model_path(root: str, model: str) -> str:
    """Return the address of a model's page."""
    return f"/root/{_quoted(root)}/model/{_quoted(model)}"


def run_path(root: str, run_id: str) -> str:
    """Return the address of a run's page."""
    return f"/root/{_quoted(root)}/run/{_quoted(run_id)}"


def report_path(root: str, name: str) -> str:
    """Return the address of a report, ``runs/<name>.html`` under the root."""
    return f"/root/{_quoted(root)}/report/{_quoted(name)}"


def compare_path(root: str, first: str, second: str) -> str:
    """Return the address of the comparison of two runs under a root."""
    return f"/compare?{urlencode({'first': f'{root}/{first}', 'second': f'{root}/{second}'})}"


def change_path(root: str, model: str, action: str) -> str:
    """Return the address of the confirmation of a change."""
    return f"{model_path(root, model)}/change/{_quoted(action)}"


def run_link(root: str, run_id: str) -> Link:
    """Return a link to a run's page."""
    return Link(run_id, run_path(root, run_id))


def _quoted(name: str) -> str:
    # A name of dots alone would be taken for a folder of the address.
    return quote(name, safe="").replace(".", "%2E") if set(name) <= {"."} else quote(name, safe="")
