"""The one graph as a file for Kubeflow Pipelines v2: pipeline spec 2.1 and platform spec, in two documents.

    >>> text = compile_config(load_config("examples/japanese_vowels/config.yaml"))  # doctest: +SKIP

TFX's runner for Vertex AI does the first part. What it leaves out is put in here: the parameters' defaults, the
platform spec, retries, limits, our entrypoint and what that needs to know. Vertex AI takes the first document alone
(``vertex.py``). Sends nothing anywhere, and the same input gives the same bytes.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any

import yaml
from google.protobuf import json_format
from kfp import components
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.components import ExampleValidator, FileBasedExampleGen
from tfx.dsl.components.base import base_driver, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig
from tfx.orchestration.pipeline import Pipeline
from tfx.utils import name_utils

from noisy_gru.components.evaluation.config import REFERENCE_FILES
from noisy_gru.components.evaluation.evaluator import Evaluator
from noisy_gru.components.latest_blessed.component import LatestBlessed
from noisy_gru.components.pusher.component import Pusher
from noisy_gru.components.reference_gate.component import ReferenceGate
from noisy_gru.components.retrain_planner.component import RetrainPlanner
from noisy_gru.components.serving_gate.component import ServingGate
from noisy_gru.components.warm_start_base.component import WarmStartBase
from noisy_gru.data.ingestion.spans import LATEST
from noisy_gru.data.reading.files import FILES
from noisy_gru.kubeflow.compiled_pipeline import check_texts
from noisy_gru.kubeflow.compiler.argument_sizes import check_sizes
from noisy_gru.kubeflow.compiler.conditions import keep_first_conditions
from noisy_gru.kubeflow.compiler.platform_spec import check_steps, platform_spec, resources, retry_policy, step_config
from noisy_gru.kubeflow.compiler.supported import check_supported
from noisy_gru.kubeflow.compiler.vertex import check_vertex, for_vertex
from noisy_gru.kubeflow.run_report.component import RunReport
from noisy_gru.kubeflow.step import parameters as names
from noisy_gru.kubeflow.step.configuration import TASK, move_to_artifact
from noisy_gru.kubeflow.step.confusion import classified_label
from noisy_gru.kubeflow.step.page_outputs import add_page_outputs
from noisy_gru.pipeline.build import build_pipeline
from noisy_gru.pipeline.config.beam_config import beam_arguments
from noisy_gru.pipeline.config.beam_options import check_can_run_in_pods
from noisy_gru.pipeline.config.input_base import relative_to, relative_to_base
from noisy_gru.pipeline.config.kubeflow_config import KubeflowConfig
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.schema.derivation import check_schema, schema_text
from noisy_gru.schema.errors import ConfigError

ENTRYPOINT = ("python", "-m", "noisy_gru.kubeflow.entrypoint")
# Their results depend on files that aren't artifacts, which KFP's cache key doesn't cover.
LOOK_OUTSIDE = (RetrainPlanner, FileBasedExampleGen, LatestBlessed, ReferenceGate, WarmStartBase, Pusher, RunReport)
# What they found is on the page of the run: of each a page in ``step_pages.py``.
SHOWN = (RetrainPlanner, ExampleValidator, Evaluator, ReferenceGate, ServingGate, RunReport)
_DISTRIBUTION = "noisy-gru-tfx"
# Generated code, of which type checkers see nothing.
_proto: Any = pipeline_spec_pb2


def default_image() -> str:
    """Return the image of this version."""
    return f"{_DISTRIBUTION}:{importlib.metadata.version(_DISTRIBUTION)}"


def compile_config(config: PipelineConfig, *, image: str | None = None, scheduled: bool = False) -> str:
    """Return the compiled pipeline of a configuration, as YAML.

    Args:
        config: as ``load_config`` gives it.
        image: of all steps; None: that of the configuration.
        scheduled: whether it is for a recurring run, which has a RetrainPlanner unless the configuration turns it off.

    Raises:
        ConfigError: the configuration or its graph is nothing that Kubeflow Pipelines can run.
    """
    kubeflow = config.kubeflow
    check_can_run_in_pods(config.beam)
    away = [pattern for pattern in config.data.patterns if "://" in pattern]
    reference = config.evaluation.reference
    for key, patterns in ((FILES, away), (REFERENCE_FILES, reference.files if reference else [])):
        for pattern in patterns:
            if "://" in pattern and not pattern.startswith("gs://"):
                raise ConfigError(
                    f"{key}: {pattern} can't be read by a step: of object stores, steps in pods get gs:// alone. "
                    "Mount a volume (kubeflow.volumes), name its folder as kubeflow.data_root, and write patterns "
                    "relative to it"
                )
    _check_reference(config, bool(away))
    schema = config.schema_path
    if "://" not in schema:
        schema = names.as_data_uri(schema_text(check_schema(schema, config.dataset).schema).encode())
    image = image or kubeflow.image or default_image()
    if kubeflow.platform == "vertex":
        check_vertex(kubeflow, image, away=bool(away))
    pipeline = build_pipeline(
        config,
        pipeline_root=kubeflow.pipeline_root or "",
        serving_dir=_parameter(names.SERVING_DIR, kubeflow.serving_dir),
        schema_file=schema,
        working_dir=kubeflow.working_dir,
        input_base=None if away else _parameter(names.DATA_ROOT, kubeflow.data_root),
        span=_parameter(names.SPAN, LATEST) if config.data.has_spans else LATEST,
        train_args=_parameter(names.STEPS, ""),
        base_model=_parameter(names.BASE_MODEL, kubeflow.base_model) if kubeflow.base_model else None,
        planned=_is_planned(config, scheduled),
        force=_parameter(names.FORCE, "false"),
        beam_pipeline_args=beam_arguments(config.beam),
        last_step=(lambda steps: RunReport(config, steps)) if config.report.enabled else None,
    )
    return compile_graph(pipeline, kubeflow, image=image)


def _check_reference(config: PipelineConfig, away: bool) -> None:
    """The reference files have to be where the steps find the data."""
    if config.data.sql is not None:
        raise ConfigError(
            "data.sql: a query runs on the machine of a local run, and the steps on Kubeflow read files: write the "
            "result to files of data.files, for example with DuckDB's COPY … TO"
        )
    folder, _ = relative_to_base(config.dataset)
    reference = config.evaluation.reference
    for pattern in relative_to(folder, reference.files) if reference else []:
        if away and "://" not in pattern:
            raise ConfigError(
                f"{REFERENCE_FILES}: {pattern} is on this machine, and data.files are on gs://. Copy the reference "
                "files there"
            )
        if pattern.startswith(".."):
            raise ConfigError(
                f"{REFERENCE_FILES}: {pattern} is outside of {folder}, the folder of data.files, which is "
                "kubeflow.data_root in the steps. Move the reference files into it, or write gs:// for both"
            )


def _is_planned(config: PipelineConfig, scheduled: bool) -> bool:
    if config.kubeflow.planned is not None:
        return config.kubeflow.planned
    return scheduled or config.kubeflow.schedule is not None or config.retraining.schedule.cron is not None


def _parameter(name: str, default: str) -> RuntimeParameter:
    return RuntimeParameter(name=name, ptype=str, default=default)


def compile_graph(pipeline: Pipeline, config: KubeflowConfig, *, image: str) -> str:
    """Any TFX graph, as YAML.

    Args:
        pipeline: its runtime parameters become pipeline parameters.
        config: what pods get, and retries.
        image: of all steps; a pipeline parameter, too.

    Raises:
        ConfigError: the graph holds something that can't be run, or the configuration names a step that isn't there.
    """
    check_supported(pipeline)
    check_steps(config, [node.id for node in pipeline.components])
    runner = KubeflowV2DagRunner(
        KubeflowV2DagRunnerConfig(default_image=image, default_commands=list(ENTRYPOINT), use_pipeline_spec_2_1=True)
    )
    spec: dict[str, Any] = dict(runner.run(pipeline, write_out=False)["pipelineSpec"])
    keep_first_conditions(spec)
    if config.pipeline_root:
        spec["defaultPipelineRoot"] = config.pipeline_root
    nodes = {node.id: node for node in pipeline.components}
    for name, node in nodes.items():
        executor = spec["deploymentSpec"]["executors"][spec["components"][name]["executorLabel"]]
        executor.get("container", {}).pop("lifecycle", None)  # the backend passes over it; the entrypoint drives
        if "container" in executor and isinstance(node.executor_spec, executor_spec.ExecutorClassSpec):
            _own_entrypoint(spec, name, node, executor["container"], pipeline)
    _defaults(spec, nodes, image)
    _check_defaults(spec)
    if move_to_artifact(spec):
        _image_parameter(spec, TASK)
    platform = _pods(spec, nodes, config)
    if config.platform == "vertex":
        for_vertex(spec, image)
        return _written([spec])
    check_sizes(spec, platform)
    return _written([spec, platform])


def _pods(spec: dict[str, Any], nodes: Mapping[str, Any], config: KubeflowConfig) -> dict[str, Any]:
    """Caching, retries and limits of each task, and the platform spec."""
    steps: dict[str, str] = {}
    for name, task in spec["root"]["dag"]["tasks"].items():
        label = spec["components"][name]["executorLabel"]
        cached = config.cache and not isinstance(nodes.get(name), LOOK_OUTSIDE)
        task["cachingOptions"] = {"enableCache": True} if cached else {}
        container = spec["deploymentSpec"]["executors"][label].get("container")
        if container is None:
            continue
        steps[label] = name
        if policy := retry_policy(config, name):
            task["retryPolicy"] = policy
        if config.env:
            container["env"] = [{"name": key, "value": value} for key, value in sorted(config.env.items())]
        if limits := resources(step_config(config, name)):
            container["resources"] = limits
    return platform_spec(config, steps)


def _image_parameter(spec: dict[str, Any], name: str) -> None:
    """Make the image of a task a parameter of the pipeline."""
    component, task = spec["components"][name], spec["root"]["dag"]["tasks"][name]
    definitions = component.setdefault("inputDefinitions", {}).setdefault("parameters", {})
    definitions[names.IMAGE] = {"parameterType": "STRING"}
    given = task.setdefault("inputs", {}).setdefault("parameters", {})
    given[names.IMAGE] = {"componentInputParameter": names.IMAGE}
    container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
    container["image"] = f"{{{{$.inputs.parameters['{names.IMAGE}']}}}}"


def _own_entrypoint(spec: dict[str, Any], name: str, node: Any, container: dict[str, Any], pipeline: Pipeline) -> None:
    """Our entrypoint's arguments, the image as a parameter, and the run's name where nothing is cached by it."""
    _image_parameter(spec, name)
    definitions = spec["components"][name]["inputDefinitions"]["parameters"]
    given = spec["root"]["dag"]["tasks"][name]["inputs"]["parameters"]
    if isinstance(node, LOOK_OUTSIDE):
        definitions[names.RUN_ID] = {"parameterType": "STRING"}
        given[names.RUN_ID] = {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
    if names.TRAIN_ARGS in definitions and given[names.TRAIN_ARGS].get("componentInputParameter") == names.STEPS:
        definitions[names.TRAIN_ARGS] = {"parameterType": "NUMBER_INTEGER"}
    executor: Any = node.executor_spec
    arguments = [
        *("--executor_class_path", name_utils.get_full_name(executor.executor_class)),
        *("--pipeline_name", pipeline.pipeline_info.pipeline_name),
        *("--json_serialized_invocation_args", "{{$}}"),
        *("--json_serialized_inputs_spec_args", json.dumps({"parameters": definitions}, sort_keys=True)),
    ]
    arguments += ["--artifact_types", json.dumps(_artifact_types(node), sort_keys=True)]
    if node.driver_class is not base_driver.BaseDriver:
        arguments += ["--driver_class_path", name_utils.get_full_name(node.driver_class)]
    if page := next((each.__name__ for each in SHOWN if isinstance(node, each)), None):
        arguments += ["--page", page]
        label = classified_label(node.exec_properties["eval_config"]) if isinstance(node, Evaluator) else None
        add_page_outputs(spec["components"][name], classification=label is not None)
    beam = executor.beam_pipeline_args if isinstance(executor, executor_spec.BeamExecutorSpec) else []
    container["args"] = [*arguments, *beam]


def _artifact_types(node: Any) -> dict[str, dict[str, str]]:
    """Return the classes of a node's inputs and outputs by name."""
    return {
        side: {name: name_utils.get_full_name(channel.type) for name, channel in channels.items()}
        for side, channels in (("inputs", node.inputs), ("outputs", node.outputs))
    }


def _defaults(spec: dict[str, Any], nodes: Mapping[str, Any], image: str) -> None:
    """Put back the parameters' defaults, which TFX drops."""
    inputs = spec["root"].setdefault("inputDefinitions", {}).setdefault("parameters", {})
    inputs[names.IMAGE] = {"parameterType": "STRING", "defaultValue": image}
    for node in nodes.values():
        for value in node.exec_properties.values():
            if not isinstance(value, RuntimeParameter) or value.default is None:
                continue
            inputs[value.name]["defaultValue"] = value.default
            if value.name == names.STEPS:
                inputs[value.name] = {"parameterType": "NUMBER_INTEGER", "defaultValue": 0}


def _check_defaults(spec: dict[str, Any]) -> None:
    """Check that the parameters' defaults arrive as they are."""
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    defaults = {name: parameter.get("defaultValue") for name, parameter in parameters.items()}
    check_texts("kubeflow.", {name: value for name, value in defaults.items() if isinstance(value, str)})


def _written(documents: list[dict[str, Any]]) -> str:
    """Serialize pipeline spec and platform spec, if any, and check them with kfp's protocol buffers and loader.

    Raises:
        ConfigError: kfp can't read what was compiled.
    """
    spec = documents[0]
    lines = ["# Compiled by noisy-gru kubeflow compile; compile again rather than editing it.", "# Parameters:"]
    for name, parameter in sorted(spec["root"]["inputDefinitions"]["parameters"].items()):
        default = f" (default: {parameter['defaultValue']!r})" if "defaultValue" in parameter else ""
        lines.append(f"#   {name}: {parameter['parameterType']}{default}")
    text = "\n".join(lines) + "\n" + yaml.safe_dump_all(documents, sort_keys=True, width=1000)
    try:
        json_format.ParseDict(spec, _proto.PipelineSpec())
        for platform in documents[1:]:
            json_format.ParseDict(platform, _proto.PlatformSpec())
        components.load_component_from_text(text)
    except (json_format.ParseError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"kfp can't read the compiled pipeline: {error}") from error
    return text
