"""The schema, the data set and other long settings of the steps, as an artifact that the pipeline's first step writes.

As parameters they would be in each task, in the graph as a whole, and in what the launcher passes on; each of these is
one argument of a process, of which Linux takes 131,072 bytes: 400 columns are too many. Here they are compressed, once,
and a task has a reference with the content's hash, which is as good a cache key as the content.

    >>> spec = {"root": {"dag": {"tasks": {}}}}
    >>> move_to_artifact(spec)
    False

In the container of the first step: ``python -m noisy_gru.kubeflow.step.configuration {{$}} FILES``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from noisy_gru.kubeflow.step.artifact_paths import to_path
from noisy_gru.kubeflow.step.parameters import from_data_uri, is_rewritten
from noisy_gru.schema.errors import UserError

TASK, OUTPUT = "Configuration", "files"
# Input of the steps that read it; the executors know nothing of it.
INPUT = "configuration"
_COMMAND = ("python", "-m", "noisy_gru.kubeflow.step.configuration")
# A parameter shorter than this stays one, unless it would be rewritten: a person can read it on the page of the run.
_SHORT = 500
_TEXT, _FILE = "configuration:", "configuration-file:"


def move_to_artifact(spec: dict[str, Any]) -> bool:
    """Put long constants of all tasks into the arguments of a task of its own, and references in their place.

    Args:
        spec: ``PipelineSpec``, changed in place; the new task has no image yet.

    Returns:
        Whether there was any; if not, nothing is changed.
    """
    files: dict[str, str] = {}
    tasks = spec["root"]["dag"]["tasks"]
    for name, task in tasks.items():
        moved = False
        for parameter, source in task.get("inputs", {}).get("parameters", {}).items():
            text = source.get("runtimeValue", {}).get("constant")
            if not isinstance(text, str):
                continue
            content = from_data_uri(text)
            if content is None and len(text) < _SHORT and not is_rewritten(text):
                continue
            key = f"{parameter}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
            files[key] = text if content is None else content.decode()
            source["runtimeValue"]["constant"] = (_TEXT if content is None else _FILE) + key
            moved = True
        if moved:
            _add_input(task, spec["components"][name])
    if files:
        _add_task(spec, files)
    return bool(files)


def _add_input(task: dict[str, Any], component: dict[str, Any]) -> None:
    source = {"taskOutputArtifact": {"producerTask": TASK, "outputArtifactKey": OUTPUT}}
    task["inputs"].setdefault("artifacts", {})[INPUT] = source
    task["dependentTasks"] = sorted({*task.get("dependentTasks", []), TASK})
    definitions = component.setdefault("inputDefinitions", {}).setdefault("artifacts", {})
    definitions[INPUT] = {"artifactType": {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}}


def _add_task(spec: dict[str, Any], files: Mapping[str, str]) -> None:
    packed = base64.b64encode(lzma.compress(json.dumps(files, sort_keys=True).encode())).decode("ascii")
    label = f"{TASK}_executor"
    spec["root"]["dag"]["tasks"][TASK] = {"taskInfo": {"name": TASK}, "componentRef": {"name": TASK}}
    output = {"artifactType": {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}}
    spec["components"][TASK] = {"executorLabel": label, "outputDefinitions": {"artifacts": {OUTPUT: output}}}
    container = {"command": list(_COMMAND), "args": ["{{$}}", packed]}
    spec["deploymentSpec"]["executors"][label] = {"container": container}


def resolve(properties: Mapping[str, Any], artifact: Path | None) -> dict[str, Any]:
    """Return properties with what their references refer to: a text, or the path of a file.

    Args:
        properties: of a step, as they arrived.
        artifact: folder that the first step wrote; None if the step has no such input.

    Raises:
        UserError: a reference names nothing.
    """
    result = dict(properties)
    for name, value in properties.items():
        for prefix in (_TEXT, _FILE):
            if not isinstance(value, str) or not value.startswith(prefix):
                continue
            key = value.removeprefix(prefix)
            path = artifact / key if artifact else None
            if path is None or not path.is_file():
                raise UserError(
                    f"{name}: expected the file {key} from the step {TASK}, and it is not in "
                    f"{artifact or 'any input of this step'}. If the object store lost it and KFP's cache still knows "
                    "it, run once with caching off (kubeflow.cache: false)"
                )
            result[name] = path.read_text(encoding="utf-8") if prefix == _TEXT else str(path)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files: ``main([EXECUTOR_INPUT, FILES])``."""
    executor_input, packed = sys.argv[1:] if argv is None else argv
    (artifact,) = json.loads(executor_input)["outputs"]["artifacts"][OUTPUT]["artifacts"]
    folder = Path(to_path(artifact["uri"]))
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in json.loads(lzma.decompress(base64.b64decode(packed))).items():
        (folder / name).write_text(text, encoding="utf-8")
        print(f"written: {name}, {len(text):,} characters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
