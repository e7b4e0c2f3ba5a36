"""Conditions of a compiled graph, as the backend can run them and as few as are needed.

TFX writes the condition of a ``Cond`` on every task inside, with the artifact that it reads as one more input. The
backend refuses a condition on an importer, and that input would be part of every task's cache key. A task whose
predecessor is skipped is skipped, too; so only the first tasks keep the condition.
"""

from __future__ import annotations

from typing import Any

# Inputs that TFX adds for a condition alone: ``_RetrainPlanner.plan``.
IMPLICIT = "_"


def keep_first_conditions(spec: dict[str, Any]) -> None:
    """Take conditions from importers, which always run then, and from tasks after one with the same condition."""
    tasks = spec["root"]["dag"]["tasks"]
    conditions = {name: task.get("triggerPolicy", {}).get("condition") for name, task in tasks.items()}
    importers = {name for name in tasks if "importer" in _executor(spec, name)}
    for name, condition in conditions.items():
        if condition is None:
            continue
        before = set(tasks[name].get("dependentTasks", [])) - importers
        if name in importers or any(conditions.get(each) == condition for each in before):
            _release(spec, name)


def _executor(spec: dict[str, Any], name: str) -> dict[str, Any]:
    return spec["deploymentSpec"]["executors"][spec["components"][name]["executorLabel"]]


def _release(spec: dict[str, Any], name: str) -> None:
    """Take condition, inputs and dependency from a task."""
    task, component = spec["root"]["dag"]["tasks"][name], spec["components"][name]
    del task["triggerPolicy"]
    inputs = task["inputs"]["artifacts"]
    gone = {key: inputs.pop(key) for key in list(inputs) if key.startswith(IMPLICIT)}
    for key in gone:
        del component["inputDefinitions"]["artifacts"][key]
    producers = {each["taskOutputArtifact"]["producerTask"] for each in gone.values()}
    producers -= {each["taskOutputArtifact"]["producerTask"] for each in inputs.values()}
    task["dependentTasks"] = [each for each in task["dependentTasks"] if each not in producers]
    for holder, key in (
        (task["inputs"], "artifacts"),
        (component["inputDefinitions"], "artifacts"),
        (task, "dependentTasks"),
        (task, "inputs"),
        (component, "inputDefinitions"),
    ):
        if not holder[key]:
            del holder[key]
