"""What the backend can't run is refused with the node's name; what it can run, isn't."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from noisy_gru.pipeline.config.kubeflow_config import KubeflowConfig

# TFX warns of its own use of what it deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def compiled(*nodes: Any, config: KubeflowConfig | None = None) -> dict[str, Any]:
    from tfx.orchestration.pipeline import Pipeline

    from noisy_gru.kubeflow.compiler.compile import compile_graph

    pipeline = Pipeline(pipeline_name="tiny", pipeline_root="", components=list(nodes))
    return next(iter(yaml.safe_load_all(compile_graph(pipeline, config or KubeflowConfig(), image="img:1"))))


def model(uri: Any = "minio://models/first", name: str = "Model") -> Any:
    from tfx.dsl.components.common.importer import Importer
    from tfx.types import standard_artifacts

    return Importer(source_uri=uri, artifact_type=standard_artifacts.Model).with_id(name)


def pusher(channel: Any, name: str = "Pusher") -> Any:
    from noisy_gru.components.pusher.component import Pusher

    return Pusher(model=channel, serving_dir="/mnt/serving", model_name="m").with_id(name)


def resolver() -> list[Any]:
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
    from tfx.types import Channel, standard_artifacts

    return [
        Resolver(
            strategy_class=LatestBlessedModelStrategy,
            model=Channel(type=standard_artifacts.Model),
            model_blessing=Channel(type=standard_artifacts.ModelBlessing),
        ).with_id("latest_model")
    ]


def span_range() -> list[Any]:
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.dsl.input_resolution.strategies.span_range_strategy import SpanRangeStrategy
    from tfx.proto import range_config_pb2
    from tfx.types import Channel, standard_artifacts

    proto: Any = range_config_pb2
    config = {"range_config": proto.RangeConfig(rolling_range=proto.RollingRange(num_spans=3))}
    return [
        Resolver(
            strategy_class=SpanRangeStrategy, config=config, examples=Channel(type=standard_artifacts.Examples)
        ).with_id("three_spans")
    ]


def infra_validator() -> list[Any]:
    from tfx.components import InfraValidator
    from tfx.proto import infra_validator_pb2 as proto

    imported = model()
    serving = proto.ServingSpec(tensorflow_serving={"tags": ["latest"]}, local_docker={})  # type: ignore[attr-defined]
    return [imported, InfraValidator(model=imported.outputs["result"], serving_spec=serving).with_id("Infra")]


def condition_on_value() -> list[Any]:
    from tfx.dsl.components.common.importer import Importer
    from tfx.dsl.experimental.conditionals.conditional import Cond
    from tfx.types import standard_artifacts

    number = Importer(source_uri="minio://b/n", artifact_type=standard_artifacts.Integer).with_id("Number")
    imported = model()
    with Cond(number.outputs["result"].future()[0].value > 3):
        push = pusher(imported.outputs["result"], "PushIfLarge")
    return [number, imported, push]


def dynamic_property() -> list[Any]:
    from tfx.dsl.components.common.importer import Importer
    from tfx.types import standard_artifacts

    from noisy_gru.components.latest_blessed.component import LatestBlessed

    where = Importer(source_uri="minio://b/n", artifact_type=standard_artifacts.String).with_id("Where")
    model = Importer(source_uri="minio://b/m", artifact_type=standard_artifacts.Model).with_id("Model")
    latest = LatestBlessed(model.outputs["result"], "/mnt/serving", "m").with_id("Latest")
    latest.spec.exec_properties["serving_dir"] = where.outputs["result"].future()[0].value
    return [where, model, latest]


def module_file(tmp_path: Path) -> list[Any]:
    from tfx.components import Trainer
    from tfx.dsl.components.common.importer import Importer
    from tfx.types import standard_artifacts

    file = tmp_path / "module.py"
    file.write_text("def run_fn(fn_args): pass\n")
    examples = Importer(source_uri="minio://b/e", artifact_type=standard_artifacts.Examples).with_id("Examples")
    return [examples, Trainer(module_file=str(file), examples=examples.outputs["result"]).with_id("TrainFromFile")]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (resolver, "latest_model: a Resolver"),
        (span_range, "three_spans: a Resolver (also one that collects spans)"),
        (infra_validator, "Infra: InfraValidator needs Docker"),
        (condition_on_value, "PushIfLarge: Cond on an artifact's .value"),
        (dynamic_property, "Latest: property serving_dir is computed by another step"),
        (
            lambda: [model("/models/first", "Bare")],
            "Bare: imports '/models/first' as result: expected a URI with a scheme",
        ),
        (lambda: [model("", "Empty")], "Empty: imports '' as result"),
    ],
)
def test_refused_by_name(nodes: Callable[[], list[Any]], message: str) -> None:
    from noisy_gru.kubeflow.compiler.supported import UnsupportedGraphError

    with pytest.raises(UnsupportedGraphError) as caught:
        compiled(*nodes())
    (problem,) = caught.value.problems
    assert problem.startswith(message)
    assert problem in str(caught.value)


def test_a_module_file_is_refused_before_a_wheel_is_made(tmp_path: Path) -> None:
    from noisy_gru.kubeflow.compiler.supported import UnsupportedGraphError

    with pytest.raises(UnsupportedGraphError, match=r"TrainFromFile: module_file .*module\.py"):
        compiled(*module_file(tmp_path))
    assert [each.name for each in tmp_path.iterdir()] == ["module.py"]


def test_all_problems_are_told_at_once() -> None:
    from noisy_gru.kubeflow.compiler.supported import UnsupportedGraphError

    with pytest.raises(UnsupportedGraphError, match="can't run 2 things") as caught:
        compiled(model("x", "First"), model("y", "Second"))
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["First", "Second"]


def test_a_type_name_that_kfp_does_not_take_is_refused() -> None:
    from tfx.dsl.components.common.importer import Importer
    from tfx.types import Artifact

    from noisy_gru.kubeflow.compiler.supported import UnsupportedGraphError

    odd = type("Odd", (Artifact,), {"TYPE_NAME": "Odd"})
    with pytest.raises(UnsupportedGraphError, match="Import: artifact result has the type name 'Odd'"):
        compiled(Importer(source_uri="minio://b/x", artifact_type=odd).with_id("Import"))


def test_a_condition_on_a_custom_property_becomes_the_backends() -> None:
    from tfx.dsl.experimental.conditionals.conditional import Cond

    imported, other = model(), model(name="Other")
    with Cond(other.outputs["result"].future()[0].custom_property("blessed") == 1):
        push = pusher(imported.outputs["result"])
    spec = compiled(imported, other, push)
    task = spec["root"]["dag"]["tasks"]["Pusher"]
    condition = task["triggerPolicy"]["condition"]
    (implicit,) = set(task["inputs"]["artifacts"]) - {"model"}
    assert condition == f"(inputs.artifacts['{implicit}'].artifacts[0].metadata['blessed'] == 1.0)"
    assert sorted(task["dependentTasks"]) == ["Model", "Other"]


def test_an_importer_may_be_told_its_uri() -> None:
    from tfx.orchestration.data_types import RuntimeParameter

    spec = compiled(model(RuntimeParameter(name="base_model", ptype=str, default="s3://b/m")))
    importer = spec["deploymentSpec"]["executors"]["Model_executor"]["importer"]
    assert importer["artifactUri"] == {"runtimeParameter": "uri"} or importer["artifactUri"] == {
        "runtimeParameter": "artifact_uri"
    }
    task = spec["root"]["dag"]["tasks"]["Model"]
    name = importer["artifactUri"]["runtimeParameter"]
    assert task["inputs"]["parameters"][name] == {"componentInputParameter": "base_model"}
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    assert inputs["base_model"] == {"parameterType": "STRING", "defaultValue": "s3://b/m"}
