"""The graph as it is compiled: its steps, who waits for whom, and what TFX caches by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.config.pipeline_config import MetadataConfig
from noisy_gru.pipeline.fingerprint import ALL_ROOMS, MODEL_ROOMS, source_fingerprint
from noisy_gru.schema.errors import ConfigError

# Importing TFX warns of its own deprecations.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

VOWELS = Path(__file__).parents[2] / "examples" / "japanese_vowels" / "config.yaml"
STEPS = {
    *("SequenceExampleGen", "StatisticsGen", "ImportSchemaGen", "ExampleValidator", "AnomalyGate", "Transform"),
    *("Trainer", "LatestBlessed", "Evaluator", "ServingGate", "Pusher"),
}


def compiled(*overrides: str, root: str = "/root") -> dict[str, Any]:
    """The compiled nodes by name."""
    from tfx.dsl.compiler.compiler import Compiler

    from noisy_gru.pipeline.build import build_pipeline

    pipeline = build_pipeline(
        load_config(VOWELS, overrides),
        pipeline_root=f"{root}/artifacts",
        serving_dir=f"{root}/serving",
        schema_file=f"{root}/schema.pbtxt",
        working_dir=f"{root}/work",
    )
    nodes = [node.pipeline_node for node in Compiler().compile(pipeline).nodes]
    return {node.node_info.id: node for node in nodes}


def parameters(node: Any) -> str:
    return str(node.parameters)


def test_the_steps_of_the_architecture():
    nodes = compiled()
    assert set(nodes) == STEPS
    assert all(node.execution_options.caching_options.enable_cache for node in nodes.values())
    assert "AnomalyGate" in nodes["Transform"].upstream_nodes
    assert {"Evaluator", "ServingGate"} <= set(nodes["Pusher"].upstream_nodes)
    assert "LatestBlessed" in nodes["Evaluator"].upstream_nodes


def test_a_tuner_comes_before_the_trainer():
    nodes = compiled("tuner.enabled=true")
    assert set(nodes) == STEPS | {"Tuner"}
    assert "Tuner" in nodes["Trainer"].upstream_nodes


def test_every_step_with_code_of_ours_is_cached_by_that_code():
    nodes = compiled()
    for name in ("SequenceExampleGen", "AnomalyGate", "LatestBlessed", "Evaluator", "ServingGate"):
        assert source_fingerprint(ALL_ROOMS) in parameters(nodes[name]), name
    # A component's code does not make a model old.
    for name in ("Transform", "Trainer"):
        assert source_fingerprint(MODEL_ROOMS) in parameters(nodes[name]), name
        assert source_fingerprint(ALL_ROOMS) not in parameters(nodes[name]), name


def test_transform_analyses_train_alone_and_never_sees_test():
    text = parameters(compiled()["Transform"])
    assert "analyze" in text and '\\"train\\"' in text
    assert '\\"test\\"' not in text.split("splits_config")[1].split("key:")[0]


def test_the_pusher_is_told_how_versions_are_rolled_out():
    text = parameters(compiled("serving.versions={rollout: canary, keep: 3}")["Pusher"])
    assert '\\"rollout\\":\\"canary\\"' in text
    assert '\\"keep\\":3' in text


def test_without_an_eval_split_nothing_is_held_out():
    nodes = compiled("splits={by: files}", "training.early_stopping=null")
    assert "eval" not in parameters(nodes["Transform"]).split("splits_config")[1].split("key:")[0]
    assert '\\"splits\\": [' in parameters(nodes["Trainer"]).split('"eval_args"')[1].split("key:")[0]
    assert '\\"eval\\"' not in parameters(nodes["Trainer"]).split('"eval_args"')[1].split("key:")[0]


def test_what_a_model_is_cached_by_does_not_depend_on_where_the_data_is(tmp_path):
    elsewhere = f"data.files={{train: [{tmp_path}/train.csv.gz], test: [{tmp_path}/test.csv.gz]}}"
    here, there = compiled(), compiled(elsewhere)
    assert parameters(here["Trainer"]) == parameters(there["Trainer"])
    assert parameters(here["SequenceExampleGen"]) != parameters(there["SequenceExampleGen"])


@pytest.mark.parametrize(
    ("files", "base", "relative"),
    [
        (["/a/b/*.csv"], "/a/b", ["*.csv"]),
        (["/a/b/x.csv", "/a/c/y-[0-9].csv"], "/a", ["b/x.csv", "c/y-[0-9].csv"]),
        (["/a/{SPAN}/x.csv", "/a/{SPAN}/y.csv"], "/a", ["{SPAN}/x.csv", "{SPAN}/y.csv"]),
        (["/a [[]2]/b/*.csv"], "/a [2]/b", ["*.csv"]),
        (["/a [[]2]/x[[]1].csv", "/a [[]2]/[bc]/y.csv"], "/a [2]", ["x[[]1].csv", "[bc]/y.csv"]),
        (["/a/x.csv", "/b/x.csv"], "/", ["a/x.csv", "b/x.csv"]),
        (["gs://bucket/x.csv"], "", ["gs://bucket/x.csv"]),
    ],
)
def test_files_are_relative_to_their_common_folder(files, base, relative):
    from noisy_gru.pipeline.config.input_base import relative_to_base

    config = load_config(VOWELS, [f"data.files={files}", "splits={by: entity}"])
    found_base, dataset = relative_to_base(config.dataset)
    assert (found_base, dataset.data.files) == (base, relative)


def test_metadata_is_in_sqlite_or_on_a_server(tmp_path, monkeypatch):
    from noisy_gru.pipeline.runs.local_runner import connection_config

    sqlite = connection_config(MetadataConfig(), tmp_path / "m.sqlite")
    assert sqlite.sqlite.filename_uri == str(tmp_path / "m.sqlite")
    mysql = MetadataConfig(host="db", port=3307, database="mlmd", user="me", password_env="MLMD_PASSWORD")
    with pytest.raises(ConfigError, match="environment variable MLMD_PASSWORD, which is not set"):
        connection_config(mysql, tmp_path)
    monkeypatch.setenv("MLMD_PASSWORD", "secret")
    found = connection_config(mysql, tmp_path).mysql
    assert (found.host, found.port, found.database, found.user, found.password) == ("db", 3307, "mlmd", "me", "secret")
    monkeypatch.setenv("MLMD_PASSWORD", "it's a \\")
    postgresql = MetadataConfig(kind="postgresql", host="db", database="mlmd", user="me", password_env="MLMD_PASSWORD")
    found = connection_config(postgresql, tmp_path).postgresql
    assert (found.host, found.port, found.dbname, found.user) == ("db", "5432", "mlmd", "'me'")
    assert found.password == r"'it\'s a \\'"


@pytest.mark.parametrize(
    ("given", "reported"),
    [
        ({"kind": "postgresql"}, "kind postgresql needs host, database and user"),
        ({"kind": "postgresql", "host": "db", "user": "me"}, "a PostgreSQL server needs database and user"),
        ({"kind": "postgresql", "host": "db", "user": "me", "database": "My-Runs"}, "received 'My-Runs'"),
    ],
)
def test_a_server_needs_what_it_is_asked_with(given, reported):
    with pytest.raises(ValueError, match=reported):
        MetadataConfig(**given)


@pytest.mark.parametrize("given", [{}, {"host": "db", "database": "runs", "user": "me"}])
def test_a_recorded_section_is_read_again(given):
    config = MetadataConfig(**given)
    assert MetadataConfig.model_validate_json(config.model_dump_json()) == config
