"""Texts that Argo and Kubernetes would rewrite in the arguments of pods: they travel in a file, or are refused."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from noisy_gru.kubeflow.compiled_pipeline import CompiledPipeline, CompiledPipelineError, check_texts
from noisy_gru.kubeflow.emulator.arguments import expanded
from noisy_gru.kubeflow.step.configuration import TASK, main, move_to_artifact, resolve
from noisy_gru.kubeflow.step.parameters import is_rewritten

REWRITTEN = ['{"files":["te$$st.csv"]}', "$(HOME)/x", "{{workflow.name}}.csv", "{{=1}}"]
AS_IT_IS = ["US$ 5", "$x", "a$", "{SPAN}", "{{$.pipeline_job_uuid}}", '{"a":{"b":1}}', "${HOME}", "[[Index]]"]


@pytest.mark.parametrize("text", [*REWRITTEN, *AS_IT_IS])
def test_a_short_text_arrives_as_it_is(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = {"inputs": {"parameters": {"x": {"runtimeValue": {"constant": text}}}}}
    spec: dict[str, Any] = {
        "root": {"dag": {"tasks": {"Step": task}}},
        "components": {"Step": {"executorLabel": "step"}},
        "deploymentSpec": {"executors": {"step": {"container": {}}}},
    }
    before = copy.deepcopy(spec)
    assert move_to_artifact(spec) == (text in REWRITTEN)
    if text in AS_IT_IS:
        assert spec == before
        return
    # Nothing that is an argument of a pod holds it, and the step gets it.
    assert not any(is_rewritten(each) for each in re.findall(r'"((?:[^"\\]|\\.)*)"', json.dumps(spec)))
    monkeypatch.setenv("NOISY_GRU_LAUNCHER_ROOT", str(tmp_path))
    executor_input = {"outputs": {"artifacts": {"files": {"artifacts": [{"uri": "s3://bucket/files"}]}}}}
    main([json.dumps(executor_input), spec["deploymentSpec"]["executors"][f"{TASK}_executor"]["container"]["args"][1]])
    constant = task["inputs"]["parameters"]["x"]["runtimeValue"]["constant"]
    assert resolve({"x": constant}, tmp_path / "s3" / "bucket" / "files") == {"x": text}


def by_hand(text: str, variables: dict[str, str]) -> str:
    """Kubernetes' reference of Container.args, character by character."""
    made = ""
    while text:
        if text.startswith("$$"):
            made, text = made + "$", text[2:]
        elif text.startswith("$(") and ")" in text:
            name, _, text = text[2:].partition(")")
            made += variables.get(name, f"$({name})")
        else:
            made, text = made + text[0], text[1:]
    return made


@given(st.text(alphabet="$(){}aB ", max_size=30))
def test_kubernetes_changes_no_text_that_passes(text: str) -> None:
    assert expanded(text, {"a": "1"}) == by_hand(text, {"a": "1"})
    if not is_rewritten(text):
        assert expanded(text, {"a": "1"}) == text


def test_a_parameter_that_would_be_rewritten_is_refused() -> None:
    check_texts("parameter ", {text: text for text in AS_IT_IS})
    with pytest.raises(CompiledPipelineError, match=r"parameter folder: expected a text without .*: '/mnt/a\$\$b'"):
        check_texts("parameter ", {"folder": "/mnt/a$$b"})


def test_equal_containers_of_different_components_are_refused(tmp_path: Path) -> None:
    """The backend files both under the hash of the container: seen in the driver of all three releases."""
    source = Path(__file__).parents[1] / "emulator" / "backend_vectors" / "every_kind.yaml"
    spec = yaml.safe_load(source.read_text())
    executors = spec["deploymentSpec"]["executors"]
    executors["e-deep"] = executors["e-plan"]
    file = tmp_path / "pipeline.yaml"
    file.write_text(yaml.safe_dump(spec))
    with pytest.raises(CompiledPipelineError, match="Deep and Plan have the same container and other inputs"):
        CompiledPipeline.read(file)
    # The same component twice, as the kfp SDK writes it.
    spec["components"]["Deep"] = {**spec["components"]["Plan"], "executorLabel": "e-deep"}
    file.write_text(yaml.safe_dump(spec))
    assert CompiledPipeline.read(file).name == "every-kind"
