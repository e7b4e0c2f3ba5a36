"""Build the pipeline graph, which the local runner and Kubeflow's compiler share.

docs/architecture.md has the table of steps with their inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from tfx.components import ExampleValidator, Trainer, Tuner
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.experimental.conditionals.conditional import Cond
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2, transform_pb2
from tfx.types import standard_artifacts

from noisy_gru.components.anomaly_gate.component import AnomalyGate
from noisy_gru.components.derived_schema_gen.component import DerivedSchemaGen
from noisy_gru.components.evaluation.evaluator import build_evaluator
from noisy_gru.components.latest_blessed.component import LatestBlessed
from noisy_gru.components.pusher.component import Pusher
from noisy_gru.components.reference_gate.component import ReferenceGate
from noisy_gru.components.retrain_planner.component import RetrainPlanner
from noisy_gru.components.sequence_example_gen.component import SequenceExampleGen
from noisy_gru.components.serving_gate.component import ServingGate
from noisy_gru.components.warm_start_base.component import WarmStartBase
from noisy_gru.components.window_reading.components import StatisticsGen, Transform
from noisy_gru.data.ingestion.spans import LATEST
from noisy_gru.pipeline.config.input_base import relative_to, relative_to_base
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.fingerprint import ALL_ROOMS, MODEL_ROOMS, package_versions, source_fingerprint
from noisy_gru.pipeline.runs.run_record import text_hash
from noisy_gru.registry.backtest_record import BacktestGate, backtest_key
from noisy_gru.schema.config import DatasetConfig

MODULE = "noisy_gru.trainer.module"

# Generated code without type information.
_transform_pb2: Any = transform_pb2
_trainer_pb2: Any = trainer_pb2


def build_pipeline(
    config: PipelineConfig,
    *,
    pipeline_root: str,
    serving_dir: str | RuntimeParameter,
    schema_file: str,
    working_dir: str | None = None,
    input_base: str | RuntimeParameter | None = None,
    span: str | RuntimeParameter = LATEST,
    train_args: Any = None,
    base_model: str | RuntimeParameter | None = None,
    planned: bool = False,
    force: str | RuntimeParameter = "false",
    metadata_connection_config: Any = None,
    beam_pipeline_args: Sequence[str] = (),
    last_step: Callable[[Mapping[str, Any]], Any] | None = None,
) -> Pipeline:
    """Build the TFX pipeline of a configuration.

    Args:
        config: configuration from ``load_config``.
        pipeline_root: root of the artifacts.
        serving_dir: folder to publish ``<model>/<version>`` to.
        schema_file: curated or derived schema; TFX caches by this path, so another content needs another path.
        working_dir: folder that outlives an execution and keeps checkpoints; None: an interrupted training starts anew.
        input_base: folder of the input files, in place of the configuration's.
        span: newest span to read: ``latest``, a number, or a date; see ``data.spans``.
        train_args: ``TrainArgs`` of the Trainer, with the number of steps; None: the epochs of the configuration.
        base_model: URI of a model artifact that the Trainer starts from, whatever is published; None: as
            ``retraining.warm_start`` says.
        planned: whether the first step is a RetrainPlanner, which decides whether the others run.
        force: ``true``: they run whatever the planner decides.
        metadata_connection_config: connection of ML Metadata, for a runner that needs one.
        beam_pipeline_args: arguments of every Beam step.
        last_step: makes one more step of the others by their ids; None: there is none.

    A ``RuntimeParameter`` gets its value at the start of a run, by runners that support it.
    """
    folder, dataset = relative_to_base(config.dataset)
    base = folder if input_base is None else input_base
    nodes: list[Any] = []
    with ExitStack() as condition:
        if planned:
            planner = RetrainPlanner(
                input_base=base,
                dataset=dataset.model_dump_json(),
                serving_dir=serving_dir,
                model_name=config.model_name,
                rules=config.retraining.rules,
                span=span,
                force=force,
            )
            nodes.append(planner)
            condition.enter_context(Cond(planner.is_due))
        nodes += _steps(
            config,
            dataset,
            serving_dir=serving_dir,
            schema_file=schema_file,
            working_dir=working_dir,
            input_base=base,
            span=span,
            train_args=train_args,
            base_model=base_model,
            folder=folder,
        )
        if last_step is not None:
            nodes.append(last_step({node.id: node for node in nodes}))
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=pipeline_root,
        components=nodes,
        enable_cache=True,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(beam_pipeline_args),
    )


def _steps(
    config: PipelineConfig,
    dataset: DatasetConfig,
    *,
    serving_dir: str | RuntimeParameter,
    schema_file: str,
    working_dir: str | None,
    input_base: str | RuntimeParameter,
    span: str | RuntimeParameter,
    train_args: Any,
    base_model: str | RuntimeParameter | None,
    folder: str,
) -> list[Any]:
    """Return the steps from ingestion to publishing, in topological order."""
    held_out = ["eval"] if dataset.has_eval_split else []
    custom_config = {
        "dataset": dataset.model_dump_json(),
        "trainer": config.trainer.model_dump_json(),
        "fingerprint": source_fingerprint(MODEL_ROOMS),
    }
    fingerprint = source_fingerprint(ALL_ROOMS)
    ingestion = SequenceExampleGen(
        input_base=input_base,
        dataset=dataset.model_dump_json(),
        fingerprint=fingerprint,
        span=span,
    )
    examples = ingestion.outputs["examples"]
    statistics = StatisticsGen(examples=examples)
    schema = DerivedSchemaGen(
        schema_file=schema_file, dataset=dataset, fingerprint=custom_config["fingerprint"]
    ).with_id("ImportSchemaGen")
    validator = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"])
    gate = AnomalyGate(anomalies=validator.outputs["anomalies"])
    transform = Transform(
        examples=examples,
        schema=schema.outputs["schema"],
        preprocessing_fn=f"{MODULE}.preprocessing_fn",
        splits_config=_transform_pb2.SplitsConfig(analyze=["train"], transform=["train", *held_out]),
        custom_config=custom_config,
        disable_statistics=True,
        # It would save a part of the analysis when spans are added, but costs a file for every analyzer in each run.
        disable_analyzer_cache=True,
    )
    transform.add_upstream_node(gate)
    training: dict[str, Any] = {
        "examples": transform.outputs["transformed_examples"],
        "transform_graph": transform.outputs["transform_graph"],
        "schema": schema.outputs["schema"],
        # TFX needs the name of a split even without an eval split; the module file ignores it then.
        "eval_args": _trainer_pb2.EvalArgs(splits=held_out or ["train"]),
        "custom_config": {**custom_config, "working_dir": working_dir},
    }
    tuner = Tuner(tuner_fn=f"{MODULE}.tuner_fn", **training) if config.tuner.enabled else None
    base = _base_model(config, base_model, serving_dir, ingestion.outputs["ingestion_report"])
    limits = {"warm_start": config.retraining.warm_start.model_dump_json()} if base else {}
    trainer = Trainer(
        run_fn=f"{MODULE}.run_fn",
        base_model=next(iter(base.outputs.values())) if base else None,
        train_args=train_args,
        hyperparameters=tuner.outputs["best_hyperparameters"] if tuner else None,
        **training | {"custom_config": training["custom_config"] | limits},
    )
    model = trainer.outputs["model"]
    blessed = LatestBlessed(model, serving_dir, config.model_name)
    evaluator = build_evaluator(
        examples=examples,
        model=model,
        dataset=dataset,
        evaluation=config.measured,
        baseline_model=blessed.outputs["model"],
        schema=schema.outputs["schema"],
        statistics=statistics.outputs["statistics"],
        transform_graph=transform.outputs["transform_graph"],
        fingerprint=fingerprint,
    )
    reference_gate = _reference_gate(
        config, dataset, input_base, model, blessed, ingestion.outputs["ingestion_report"], folder
    )
    serving_gate = ServingGate(
        model=model,
        examples=examples,
        transform_graph=transform.outputs["transform_graph"],
        dataset=dataset,
        budgets=config.serving.budgets,
        serving_step=config.model.serving_step,
        model_name=config.model_name,
        fingerprint=fingerprint,
        explain_seconds=config.report.explain_seconds,
    )
    pusher = Pusher(
        model=model,
        serving_dir=serving_dir,
        model_name=config.model_name,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=serving_gate.outputs["blessing"],
        reference_blessing=reference_gate.outputs["blessing"] if reference_gate else None,
        compared_with=blessed.outputs["model"],
        ingestion_report=ingestion.outputs["ingestion_report"],
        publishing=config.serving.publishing,
        run={
            "seed": config.seed,
            "config_hash": text_hash(config.model_dump_json(by_alias=True)),
            "fingerprint": fingerprint,
            "packages": package_versions(),
        },
        backtest=_backtest_gate(config),
    )
    for ours in (gate, blessed, *([base] if isinstance(base, WarmStartBase) else [])):
        # Not read by their executors: part of the key of TFX's cache.
        ours.spec.exec_properties["fingerprint"] = fingerprint
    before = [ingestion, statistics, schema, validator, gate, transform]
    optional = [node for node in (tuner, base) if node is not None]
    gates = [evaluator, *([reference_gate] if reference_gate else []), serving_gate]
    return [*before, *optional, trainer, blessed, *gates, pusher]


def _reference_gate(
    config: PipelineConfig,
    dataset: DatasetConfig,
    input_base: str | RuntimeParameter,
    model: Any,
    blessed: LatestBlessed,
    report: Any,
    folder: str,
) -> ReferenceGate | None:
    """Return the step that compares on the reference set, or None."""
    reference = config.evaluation.reference
    if reference is None:
        return None
    return ReferenceGate(
        model,
        blessed.outputs["model"],
        report,
        input_base=input_base,
        dataset=dataset.model_dump_json(),
        reference=reference.model_copy(update={"files": relative_to(folder, reference.files)}),
    )


def _backtest_gate(config: PipelineConfig) -> BacktestGate | None:
    asked = config.evaluation.backtest
    if asked is None:
        return None
    return BacktestGate(backtest_key(config.dataset, config.trainer), asked.must_beat, asked.max_age_days)


def _base_model(
    config: PipelineConfig,
    base_model: str | RuntimeParameter | None,
    serving_dir: str | RuntimeParameter,
    report: Any,
) -> Importer | WarmStartBase | None:
    """Return the step whose model the Trainer starts from: the given one, else the published one, else none."""
    if base_model is not None:
        uri: Any = base_model  # TFX's type hints don't allow a runtime parameter
        return Importer(source_uri=uri, artifact_type=standard_artifacts.Model).with_id("BaseModel")
    if config.retraining.warm_start.enabled:
        return WarmStartBase(report, serving_dir=serving_dir, model_name=config.model_name)
    return None
