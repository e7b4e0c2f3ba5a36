"""Run `RetrainPlanner`: decide, write the decision as properties of its output, and record the start."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from noisy_gru.compat.tfx import execution_of
from noisy_gru.components.retrain_planner.config import RulesConfig
from noisy_gru.components.retrain_planner.planning import Subject, make_plan
from noisy_gru.registry.retraining_attempts import Attempt, append_attempt
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.storage.object_stores import glob_files, open_file

INPUT_BASE = "input_base"
DATASET = "dataset"
SPAN = "span"
SERVING_DIR = "serving_dir"
MODEL_NAME = "model_name"
RULES = "rules"
FORCE = "force"
PLAN = "plan"
RETRAIN = "retrain"
REASON = "reason"
SPANS = "spans"
PLAN_FILE = "plan.json"
logger = logging.getLogger("noisy_gru.progress")


class Executor(base_executor.BaseExecutor):
    """Executor of `RetrainPlanner`."""

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Write ``plan.json`` and the properties `retrain`, `reason` and `spans` of ``plan``.

        If retraining is due, `started` goes to the model's ``retraining.jsonl``; the Pusher adds the end.

        Raises:
            UserError: the data or what is published can't be read; a span is missing or empty.
        """
        model_dir = Path(exec_properties[SERVING_DIR]) / exec_properties[MODEL_NAME]
        run_id = execution_of(self).run_id
        now = datetime.now(UTC)
        pipeline = execution_of(self).pipeline
        plan = make_plan(
            Subject(
                pipeline=pipeline,
                dataset=DatasetConfig.model_validate_json(exec_properties[DATASET]),
                base=exec_properties[INPUT_BASE],
                model_dir=model_dir,
                rules=RulesConfig.model_validate_json(exec_properties[RULES]),
            ),
            now=now,
            glob=glob_files,
            opener=open_file,
            span=exec_properties[SPAN],
            force=_is_true(exec_properties[FORCE]),
            run_id=run_id,
        )
        artifact = artifact_utils.get_single_instance(output_dict[PLAN])
        (Path(artifact.uri) / PLAN_FILE).write_text(plan.to_json(), encoding="utf-8")
        artifact.set_int_custom_property(RETRAIN, int(plan.retrain))
        artifact.set_string_custom_property(REASON, plan.summary)
        artifact.set_string_custom_property(SPANS, plan.spans)
        logger.info(plan.summary, extra={"event": {"message": plan.summary, "retrain": plan.retrain}})
        if plan.retrain:
            started = Attempt(
                at=now.isoformat(timespec="seconds"),
                event="started",
                run_id=run_id,
                spans=plan.spans,
                data=plan.data,
                reason=plan.summary,
            )
            append_attempt(model_dir, started)


def _is_true(text: str) -> bool:
    """Parse a flag from a pipeline parameter.

    Raises:
        ConfigError: it is neither true nor false.
    """
    flags = {"true": True, "false": False, "": False}
    if text.strip().lower() not in flags:
        raise ConfigError(f"parameter {FORCE}: expected true or false. Received: {text!r}")
    return flags[text.strip().lower()]
