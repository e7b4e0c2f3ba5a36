"""Plan a retraining on this machine: decide whether the published model is due.

>>> plan = plan_retraining(config, serving_dir=root / "serving", now=datetime.now(UTC))  # doctest: +SKIP
>>> plan.retrain, plan.summary  # doctest: +SKIP
(False, 'not due: nothing new since version 1795625257, which was trained on spans 3-9')
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from noisy_gru.components.retrain_planner.plan import RetrainPlan
from noisy_gru.components.retrain_planner.planning import Subject, make_plan
from noisy_gru.data.ingestion.spans import LATEST
from noisy_gru.data.reading.file_hashes import hash_cache
from noisy_gru.pipeline.config.input_base import relative_to_base
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.storage.object_stores import glob_files


def plan_retraining(
    config: PipelineConfig,
    *,
    serving_dir: Path,
    now: datetime,
    span: str = LATEST,
    force: bool = False,
    run_id: str = "",
) -> RetrainPlan:
    """Decide whether to retrain. Changes nothing; data is ingested for drift into a temporary folder.

    Args:
        config: configuration from ``load_config``.
        serving_dir: folder with a folder for each model, which holds its versions and its retraining attempts.
        now: current time, with a time zone.
        span: newest span to train on: ``latest``, a number, or a date.
        force: retrain whatever rules and alarms say.
        run_id: id of the run that plans, if it has begun.

    Raises:
        UserError: the data or the published versions can't be read; a span is missing or empty.
    """
    base, dataset = relative_to_base(config.dataset)
    subject = Subject(
        pipeline=config.name,
        dataset=dataset,
        base=base,
        model_dir=serving_dir / config.model_name,
        rules=config.retraining.rules,
    )
    with hash_cache(RunDirectory(serving_dir.parent).hashes, keep=False):
        return make_plan(subject, now=now, glob=glob_files, span=span, force=force, run_id=run_id)
