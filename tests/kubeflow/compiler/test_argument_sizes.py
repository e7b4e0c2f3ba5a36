"""Pipelines of many columns: a task's arguments don't grow with them, and one that is too large is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from noisy_gru.kubeflow.compiler.argument_sizes import LIMIT, TaskTooLargeError, check_sizes
from noisy_gru.pipeline.config.loading import load_config

# TFX warns of its own use of what it deprecated.
pytestmark = pytest.mark.filterwarnings("default")


def spec(text: str) -> dict[str, Any]:
    task = {"componentRef": {"name": "Step"}, "inputs": {"parameters": {"x": {"runtimeValue": {"constant": text}}}}}
    return {
        "root": {"dag": {"tasks": {"Step": task}}},
        "components": {"Step": {"executorLabel": "step"}},
        "deploymentSpec": {"executors": {"step": {"container": {}}}},
    }


def test_a_task_that_is_too_large_is_named() -> None:
    check_sizes(spec("x" * 100_000), {})
    with pytest.raises(TaskTooLargeError) as error:
        check_sizes(spec("x" * LIMIT), {})
    # Of the task, what is told when it runs, and the root.
    assert [line.rpartition(":")[0] for line in str(error.value).splitlines()[1:4]] == [
        "  - Step: its inputs and properties",
        "  - all tasks together",
        "  - Step: the task",
    ]
    assert "and Linux takes 131,072 bytes" in str(error.value)


def test_characters_are_counted_as_go_writes_them() -> None:
    # encoding/json escapes <, > and & to six bytes each; an umlaut has two.
    check_sizes(spec("x" * 25_000), {})
    with pytest.raises(TaskTooLargeError):
        check_sizes(spec("<" * 25_000), {})
    with pytest.raises(TaskTooLargeError):
        check_sizes(spec("ä" * 70_000), {})


@pytest.mark.slow
@pytest.mark.parametrize("columns", [400, 2000])
def test_many_columns_compile(columns: int, tmp_path: Path) -> None:
    import random

    from noisy_gru.kubeflow.compiler.compile import compile_config

    rng = random.Random(columns)
    names = [f"reading_{rng.getrandbits(48):012x}" for _ in range(columns)]
    (tmp_path / "schema.pbtxt").write_text(
        "".join(f'feature {{ name: "{name}" type: FLOAT value_count {{ min: 1 }} }}\n' for name in names)
        + 'feature { name: "kind" type: BYTES value_count { min: 1 max: 1 } }\n'
    )
    (tmp_path / "config.yaml").write_text(
        "name: wide\nschema: schema.pbtxt\n"
        f"data: {{files: [rows.csv], entity: id, time: {{column: t, kind: integer}}, features: {json.dumps(names)}}}\n"
        "task: {kind: classification, label: kind}\n"
    )
    text = compile_config(load_config(tmp_path / "config.yaml"))
    compiled = next(iter(yaml.safe_load_all(text)))
    # What Go would write is smaller than this, and each is one argument of a process here.
    whole = [compiled["root"], *compiled["root"]["dag"]["tasks"].values(), *compiled["components"].values()]
    whole += [each["container"] for each in compiled["deploymentSpec"]["executors"].values()]
    for each in whole:
        assert subprocess.run(["true", json.dumps(each)], check=False).returncode == 0
    assert len(json.dumps(compiled["root"])) < 20_000
    assert names[-1] not in text
