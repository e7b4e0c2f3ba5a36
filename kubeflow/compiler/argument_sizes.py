"""Check that each task of a compiled pipeline is small enough to be passed on as arguments of processes.

    >>> check_sizes({"root": {"dag": {"tasks": {}}}, "components": {}, "deploymentSpec": {"executors": {}}}, {})

Linux takes 131,072 bytes an argument, its end included (MAX_ARG_STRLEN in include/uapi/linux/binfmts.h). What is one
argument was read in the backend's releases 2.5.0, 2.15.0 and 2.17.0 (backend/src/v2, compiler/argocompiler/container.go
and dag.go, driver/driver.go): a task, its component, its container, the root with all tasks, the ExecutorInput.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from noisy_gru.schema.errors import ConfigError

LIMIT = 131_072
# Generous sizes of what the backend adds to an ExecutorInput: URI, properties and store of an artifact.
_ARTIFACT, _OUTPUT = 4_000, 1_000
# Go's encoding/json writes these as six bytes.
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


class TaskTooLargeError(ConfigError):
    """A compiled task that the backend can't start."""


def check_sizes(spec: dict[str, Any], platform: dict[str, Any]) -> None:
    """Check all tasks.

    Args:
        spec: ``PipelineSpec``.
        platform: ``PlatformSpec``.

    Raises:
        TaskTooLargeError: with the sizes of all that are too large.
    """
    found = [(where, size) for where, size in _arguments(spec, platform) if size + 1 > LIMIT]
    if found:
        lines = "\n".join(f"  - {where}: {size:,} bytes" for where, size in sorted(found, key=lambda each: -each[1]))
        raise TaskTooLargeError(
            "the compiled pipeline is too large: Kubeflow Pipelines passes each of these as one argument of a process, "
            f"and Linux takes {LIMIT:,} bytes\n{lines}\nShorten what the configuration repeats: names of columns, "
            "lists of values, the schema's comments; or have fewer columns"
        )


def _arguments(spec: dict[str, Any], platform: dict[str, Any]) -> Iterator[tuple[str, int]]:
    pods = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    for name, task in spec["root"]["dag"]["tasks"].items():
        component = spec["components"][name]
        label = component["executorLabel"]
        container = spec["deploymentSpec"]["executors"][label].get("container", {})
        yield f"{name}: the task", _size(task)
        yield f"{name}: its component", _size(component)
        yield f"{name}: its container", _size(container)
        yield f"{name}: its pod", _size(pods.get(label, {}))
        yield f"{name}: its inputs and properties", _executor_input(task, component)
    yield "all tasks together", _size(spec["root"])


def _executor_input(task: dict[str, Any], component: dict[str, Any]) -> int:
    inputs = task.get("inputs", {})
    outputs = component.get("outputDefinitions", {})
    return (
        _size(inputs.get("parameters", {}))
        + _ARTIFACT * len(inputs.get("artifacts", {}))
        + _size(outputs)
        + _OUTPUT * (1 + len(outputs.get("artifacts", {})) + len(outputs.get("parameters", {})))
    )


def _size(value: Any) -> int:
    """Return the size in bytes of a message as Go writes it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character, escaped in _ESCAPED.items():
        text = text.replace(character, escaped)
    return len(text.encode())
