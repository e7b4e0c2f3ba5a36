"""The names of Beam's runners: which can be chosen, which are refused and why, and what people mean by others."""

from __future__ import annotations

from typing import Any

RUNNERS = ("in_process", "portable", "flink", "spark", "dataflow")
_DIRECT = (
    "bare DirectRunner is refused: it first tries to download Prism, another runner, so what it does depends on the "
    "network. in_process is FnApiRunner, which it falls back to"
)
_REFUSED = {
    "dask": "DaskRunner is refused: with Beam 2.77 it loses data without a word",
    "direct": _DIRECT,
    "switchingdirect": _DIRECT,
    "bundlebaseddirect": _DIRECT,
    "interactive": "InteractiveRunner is refused: it is for notebooks, and keeps what it has computed in a cache",
    "prism": "PrismRunner is refused: it downloads a program when it starts. A Prism that runs already is a job "
    "server, for portable",
}
_MEANT = {"fnapi": "in_process", "inprocess": "in_process", "local": "in_process"}


def with_a_runner(section: Any) -> Any:
    """A configuration's section, in_process where it names no runner.

    Raises:
        ValueError: the runner is refused, or goes by another name here.
    """
    if not isinstance(section, dict):
        return section
    if "runner" not in section:
        return {"runner": "in_process", **section}
    given = section["runner"]
    if given in RUNNERS or not isinstance(given, str):
        return section
    name = given.rsplit(".", 1)[-1].lower().replace("_", "").replace("-", "").removesuffix("runner")
    choices = f"Expected one of {', '.join(RUNNERS)}"
    if name in _REFUSED:
        raise ValueError(f"runner: {_REFUSED[name]}. {choices}")
    meant = name if name in RUNNERS else _MEANT.get(name)
    if meant is not None:
        raise ValueError(f"runner: {given} is called {meant} here. {choices}")
    return section
