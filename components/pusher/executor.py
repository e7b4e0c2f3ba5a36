"""Runs the Pusher: asks both blessings, then publishes or says why not."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from noisy_gru.components.pusher.publish import publish

MODEL = "model"
MODEL_BLESSING = "model_blessing"
INFRA_BLESSING = "infra_blessing"
PUSHED_MODEL = "pushed_model"
SERVING_DIR = "serving_dir"
MODEL_NAME = "model_name"
NONCE = "nonce"
logger = logging.getLogger("noisy_gru.progress")

_REFUSALS = {
    MODEL_BLESSING: "the Evaluator did not bless it",
    INFRA_BLESSING: "the ServingGate refused it",
}


def refusals(input_dict: dict[str, Any]) -> list[str]:
    """Why the model may not be published; empty if every blessing that there is, is positive."""
    return [
        reason
        for key, reason in _REFUSALS.items()
        if any(artifact.get_int_custom_property("blessed") != 1 for artifact in input_dict.get(key, []))
    ]


class Executor(base_executor.BaseExecutor):
    """Executor of `Pusher`."""

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Publishes the model if nothing speaks against it.

        ``pushed_model`` gets TFX's properties `pushed` (0 or 1), `pushed_destination` and `pushed_version`, besides
        `reason` if it was refused, and holds ``publication.json``.

        Raises:
            PublishError: if publishing fails; not if a blessing is negative.
        """
        model = artifact_utils.get_single_instance(input_dict[MODEL])
        pushed = artifact_utils.get_single_instance(output_dict[PUSHED_MODEL])
        if reasons := refusals(input_dict):
            text = f"not published: {' and '.join(reasons)}"
            pushed.set_int_custom_property("pushed", 0)
            pushed.set_string_custom_property("reason", text)
            (Path(pushed.uri) / "reason.txt").write_text(text + "\n")
            logger.error(text, extra={"event": {"message": text, "pushed": False}})
            return
        lineage = {
            key: artifact.uri for key in (MODEL_BLESSING, INFRA_BLESSING) for artifact in input_dict.get(key, [])
        }
        if self._context is not None and self._context.pipeline_info is not None:
            lineage["pipeline"] = self._context.pipeline_info.id
            lineage["run"] = self._context.pipeline_run_id or ""
        result = publish(
            Path(path_utils.serving_model_path(model.uri)),
            Path(exec_properties[SERVING_DIR]),
            exec_properties[MODEL_NAME],
            model_uri=model.uri,
            lineage=lineage,
        )
        version = str(result.publication.version)
        pushed.set_int_custom_property("pushed", 1)
        pushed.set_string_custom_property("pushed_destination", str(result.folder))
        pushed.set_string_custom_property("pushed_version", version)
        (Path(pushed.uri) / "publication.json").write_text(result.publication.to_json())
        text = f"version {version}" if result.is_new else f"version {version}, which was published before"
        event = {"message": text, "pushed": True, "version": version, "path": str(result.folder)}
        logger.info(text, extra={"event": json.loads(json.dumps(event))})
