"""Macros of recurring runs, such as ``[[ScheduledTime]]``, which the API server replaces in parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping

from noisy_gru.kubeflow.compiled_pipeline import CompiledPipeline, Parameter
from noisy_gru.schema.errors import ConfigError

# What the server replaces in text. It knows the first two in recurring runs alone.
SCHEDULED = ("ScheduledTime", "Index")
MACROS = (*SCHEDULED, "CurrentTime", "RunUUID")
# Times may be formatted, in Go's way: [[ScheduledTime.2006-01-02]].
FORMATTED = ("ScheduledTime", "CurrentTime")
MACRO = re.compile(r"\[\[(?P<name>[A-Za-z]\w*)(?P<format>\.[^\]]*)?\]\]")


def check_macros(pipeline: CompiledPipeline, given: Mapping[str, str], *, recurring: bool) -> None:
    """Check that each macro is one that the server replaces: it leaves any other as it is, brackets and all.

    Args:
        pipeline: whose parameters they are.
        given: texts by parameter; names that the pipeline doesn't have are passed over.
        recurring: whether they are for a schedule, where the server knows ``[[ScheduledTime]]`` and ``[[Index]]``.

    Raises:
        ConfigError: a macro that the server doesn't know, or in a parameter that can't hold its text.
    """
    for name, text in given.items():
        if name in pipeline.parameters:
            _check_macros(pipeline.parameters[name], text, recurring)


def _check_macros(parameter: Parameter, text: str, recurring: bool) -> None:
    for match in MACRO.finditer(text):
        name = match["name"]
        if name not in MACROS or (match["format"] and name not in FORMATTED):
            known = ", ".join(f"[[{each}]]" for each in MACROS)
            raise ConfigError(
                f"parameter {parameter.name}: {match[0]} is nothing that Kubeflow Pipelines replaces; it knows "
                f"{known}, and formats for the times: [[ScheduledTime.2006-01-02]]"
            )
        if name in SCHEDULED and not recurring:
            raise ConfigError(
                f"parameter {parameter.name}: {match[0]} is replaced in recurring runs alone; write a value"
            )
        if parameter.kind.startswith("NUMBER") or parameter.kind == "BOOLEAN":
            raise ConfigError(
                f"parameter {parameter.name}: {match[0]} becomes text, and the parameter is a {parameter.kind}, which "
                "the server would refuse; only parameters of type STRING, LIST and STRUCT can hold it"
            )
