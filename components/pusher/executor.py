"""Run the Pusher: check both blessings, then publish or report why not."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from noisy_gru.compat.tfx import execution_of
from noisy_gru.components.artifacts import IDENTITY, METRICS, ORIGIN
from noisy_gru.registry.backtest_record import FOLDER as BACKTESTS
from noisy_gru.registry.backtest_record import BacktestGate, backtest_problem
from noisy_gru.registry.config import PublishingConfig
from noisy_gru.registry.model_identity import model_identity
from noisy_gru.registry.publish import PublishResult, WithdrawnError, publish
from noisy_gru.registry.published_versions import COMPARED_WITH, fingerprint, hash_files
from noisy_gru.registry.retraining_attempts import AttemptEvent, close_attempt
from noisy_gru.registry.training_record_writer import TrainingFiles
from noisy_gru.schema.errors import PublishError
from noisy_gru.trainer.export.artifact_files import KERAS_FOLDER

MODEL = "model"
MODEL_BLESSING = "model_blessing"
INFRA_BLESSING = "infra_blessing"
REFERENCE_BLESSING = "reference_blessing"
INGESTION_REPORT = "ingestion_report"
PUSHED_MODEL = "pushed_model"
SERVING_DIR = "serving_dir"
MODEL_NAME = "model_name"
PUBLISHING = "publishing"
RUN = "run"
BACKTEST = "backtest"
NOTE = "note"
STABLE = "stable_version"
logger = logging.getLogger("noisy_gru.progress")

_REFUSALS = {
    MODEL_BLESSING: "the Evaluator did not bless it",
    REFERENCE_BLESSING: "the ReferenceGate refused it",
    INFRA_BLESSING: "the ServingGate refused it",
}


def refusals(input_dict: dict[str, Any]) -> list[str]:
    """Return why the model may not be published; empty if every blessing that there is, is positive."""
    return [
        reason
        for key, reason in _REFUSALS.items()
        if any(artifact.get_int_custom_property("blessed") != 1 for artifact in input_dict.get(key, []))
    ]


def servable(model: Any, infra_blessings: list[Any]) -> Path:
    """Return the SavedModel to publish: the ServingGate's copy with warm-up requests, or the model itself.

    Raises:
        PublishError: if the copy isn't one of this model.
    """
    trained = Path(path_utils.serving_model_path(model.uri))
    for blessing in infra_blessings:
        if blessing.get_int_custom_property("has_model") == 1:
            stamped = Path(path_utils.stamped_model_path(blessing.uri))
            if fingerprint(hash_files(stamped)) != fingerprint(hash_files(trained)):
                raise PublishError(
                    f"{stamped} isn't a copy of {trained}: the model in the ServingGate's blessing is another one. "
                    "Run the pipeline again."
                )
            return stamped
    return trained


def origin(artifact: Any) -> str:
    """Where an artifact is kept, if its URI is only this step's copy of it, as on Kubeflow; else its URI."""
    return artifact.get_string_custom_property(ORIGIN) or artifact.uri


def training_files(model: Any, input_dict: dict[str, Any], run: dict[str, Any]) -> TrainingFiles:
    """Return the files that the version keeps for the next training, as far as the step has them."""
    given = input_dict.get(INGESTION_REPORT, [])
    report = Path(artifact_utils.get_single_instance(given).uri) / "ingestion_report.json" if given else None
    return TrainingFiles(Path(model.uri) / KERAS_FOLDER, report, run)


def result_text(result: PublishResult) -> str:
    """Describe the result of a push in one line."""
    version, stable = result.publication.version, result.labels.stable
    text = f"version {version}" if result.is_new else f"version {version}, which was published before"
    if stable != version:
        text += f"; it is the canary, and {stable} stays stable until: noisy-gru runs promote"
    if result.removed:
        text += f"; removed {', '.join(map(str, result.removed))}"
    if result.left_alone:
        text += f"; left as edited: {', '.join(result.left_alone)}"
    return text


class Executor(base_executor.BaseExecutor):
    """Executor of `Pusher`."""

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Publish the model if both blessings are positive, and its backtest is as asked for.

        ``pushed_model`` gets TFX's properties `pushed` (0 or 1), `pushed_destination` and `pushed_version`, besides
        `note`, `stable_version`, or `reason` if it was refused, and holds ``publication.json``.

        Raises:
            PublishError: if publishing fails; not if a blessing is negative, or the model was withdrawn before.
        """
        model = artifact_utils.get_single_instance(input_dict[MODEL])
        pushed = artifact_utils.get_single_instance(output_dict[PUSHED_MODEL])
        reasons = refusals(input_dict)
        gate = BacktestGate.from_json(exec_properties.get(BACKTEST) or "")
        if gate is not None:
            folder = Path(exec_properties[SERVING_DIR]).parent / BACKTESTS
            problem = backtest_problem(folder, gate, now=datetime.now(UTC))
            reasons += [problem] if problem else []
        if reasons:
            self._refuse(pushed, exec_properties, f"not published: {' and '.join(reasons)}")
            return
        lineage = {
            key: origin(artifact) for key in (MODEL_BLESSING, INFRA_BLESSING) for artifact in input_dict.get(key, [])
        }
        for artifact in input_dict.get(COMPARED_WITH, []):
            lineage[COMPARED_WITH] = artifact.get_string_custom_property(IDENTITY)
        run: dict[str, Any] = json.loads(exec_properties.get(RUN) or "{}")
        for artifact in input_dict.get(MODEL_BLESSING, []):
            run["metrics"] = json.loads(artifact.get_string_custom_property(METRICS) or "{}")
        execution = execution_of(self)
        if execution.pipeline:
            lineage["pipeline"] = run["pipeline"] = execution.pipeline
            lineage["run"] = run["run_id"] = execution.run_id
        try:
            result = publish(
                servable(model, input_dict.get(INFRA_BLESSING, [])),
                Path(exec_properties[SERVING_DIR]),
                exec_properties[MODEL_NAME],
                settings=PublishingConfig.model_validate_json(exec_properties.get(PUBLISHING) or "{}"),
                model_uri=origin(model),
                lineage=lineage,
                training_files=training_files(model, input_dict, run),
                identify=model_identity,
            )
        except WithdrawnError as error:
            # No failure: the run made what a person took back, and says so.
            self._refuse(pushed, exec_properties, f"not published: {error}")
            return
        version = str(result.publication.version)
        pushed.set_int_custom_property("pushed", 1)
        pushed.set_string_custom_property("pushed_destination", str(result.folder))
        pushed.set_string_custom_property("pushed_version", version)
        (Path(pushed.uri) / "publication.json").write_text(result.publication.to_json())
        text = result_text(result)
        pushed.set_string_custom_property(NOTE, text)
        pushed.set_string_custom_property(STABLE, str(result.labels.stable))
        self._close("published", exec_properties, text, result.publication.version)
        event = {"message": text, "pushed": True, "version": version, "path": str(result.folder)}
        logger.info(text, extra={"event": json.loads(json.dumps(event))})

    def _refuse(self, pushed: Any, exec_properties: dict[str, Any], text: str) -> None:
        pushed.set_int_custom_property("pushed", 0)
        pushed.set_string_custom_property("reason", text)
        (Path(pushed.uri) / "reason.txt").write_text(text + "\n")
        self._close("refused", exec_properties, text)
        logger.error(text, extra={"event": {"message": text, "pushed": False}})

    def _close(
        self, event: AttemptEvent, exec_properties: dict[str, Any], reason: str, version: int | None = None
    ) -> None:
        """Record the end of the retraining, if this run is one."""
        run_id = execution_of(self).run_id
        model_dir = Path(exec_properties[SERVING_DIR]) / exec_properties[MODEL_NAME]
        if run_id:
            close_attempt(model_dir, run_id, event, datetime.now(UTC), reason=reason, version=version)
