"""The step that publishes a blessed model for TF Serving."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from noisy_gru.components.artifacts import IngestionReportArtifact
from noisy_gru.components.drivers import NONCE, UncachedDriver
from noisy_gru.components.pusher import executor
from noisy_gru.registry.backtest_record import BacktestGate
from noisy_gru.registry.config import PublishingConfig


class PusherSpec(types.ComponentSpec):
    """Inputs, outputs and properties of `Pusher`."""

    PARAMETERS = {  # noqa: RUF012
        executor.SERVING_DIR: ExecutionParameter(type=str),
        executor.MODEL_NAME: ExecutionParameter(type=str),
        executor.PUBLISHING: ExecutionParameter(type=str, optional=True),
        executor.RUN: ExecutionParameter(type=str, optional=True),
        executor.BACKTEST: ExecutionParameter(type=str, optional=True),
        NONCE: ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        executor.MODEL: ChannelParameter(type=standard_artifacts.Model),
        executor.MODEL_BLESSING: ChannelParameter(type=standard_artifacts.ModelBlessing, optional=True),
        executor.REFERENCE_BLESSING: ChannelParameter(type=standard_artifacts.ModelBlessing, optional=True),
        executor.INFRA_BLESSING: ChannelParameter(type=standard_artifacts.InfraBlessing, optional=True),
        executor.COMPARED_WITH: ChannelParameter(type=standard_artifacts.Model, optional=True),
        executor.INGESTION_REPORT: ChannelParameter(type=IngestionReportArtifact, optional=True),
    }
    OUTPUTS = {executor.PUSHED_MODEL: ChannelParameter(type=standard_artifacts.PushedModel)}  # noqa: RUF012


class Pusher(base_component.BaseComponent):
    """Publish ``<serving_dir>/<model_name>/<version>`` if both blessings are positive.

    The copy in the ServingGate's blessing, which has requests to warm a server up, where there is one; else the model.

    Args:
        model: channel of Model.
        serving_dir: folder that holds a folder for each model; a path, not an object store's URI; or the
            runtime parameter that names it.
        model_name: the model's folder, and its name in TF Serving.
        model_blessing: the Evaluator's; a model without it is not asked for it.
        reference_blessing: the ReferenceGate's; likewise.
        infra_blessing: the ServingGate's; likewise.
        compared_with: the output of `LatestBlessed`, for lineage.
        ingestion_report: of SequenceExampleGen; the version carries its files' names and hashes, its counts, and the
            sample of its values.
        publishing: which versions are kept and labelled, and how requests are put together; None: the defaults.
        run: what else the version tells of its training: `seed`, `config_hash`, `fingerprint`, `packages`.
        backtest: what the last backtest under the folder that holds ``serving_dir`` must have shown; None: nothing.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = UncachedDriver

    def __init__(
        self,
        model: types.BaseChannel,
        serving_dir: str | Path | RuntimeParameter,
        model_name: str,
        model_blessing: types.BaseChannel | None = None,
        infra_blessing: types.BaseChannel | None = None,
        reference_blessing: types.BaseChannel | None = None,
        compared_with: types.BaseChannel | None = None,
        ingestion_report: types.BaseChannel | None = None,
        publishing: PublishingConfig | None = None,
        run: Mapping[str, Any] | None = None,
        backtest: BacktestGate | None = None,
    ) -> None:
        super().__init__(
            PusherSpec(
                model=model,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                reference_blessing=reference_blessing,
                compared_with=compared_with,
                ingestion_report=ingestion_report,
                serving_dir=serving_dir if isinstance(serving_dir, RuntimeParameter) else str(serving_dir),
                model_name=model_name,
                publishing=(publishing or PublishingConfig()).model_dump_json(),
                run=json.dumps(dict(run or {}), sort_keys=True),
                backtest=backtest.to_json() if backtest is not None else "",
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
