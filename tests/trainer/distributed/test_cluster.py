"""Which machines train together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.distributed.cluster import Cluster
from noisy_gru.trainer.distributed.rendezvous import training_cluster


def tf_config(jobs: dict[str, list[str]], kind: str = "worker", index: int = 0) -> dict[str, str]:
    """TF_CONFIG as the Training Operator writes it."""
    content = {"cluster": jobs, "task": {"type": kind, "index": index}, "environment": "cloud"}
    return {"TF_CONFIG": json.dumps(content)}


@pytest.mark.parametrize(
    ("jobs", "kind", "index", "place"),
    [
        ({"worker": ["a:1", "b:1"]}, "worker", 0, 0),
        ({"worker": ["a:1", "b:1"]}, "worker", 1, 1),
        ({"chief": ["c:1"], "worker": ["a:1"]}, "chief", 0, 0),
        ({"chief": ["c:1"], "worker": ["a:1", "b:1"]}, "worker", 1, 2),
    ],
)
def test_tf_config_is_read_and_written(jobs: Any, kind: str, index: int, place: int) -> None:
    cluster = Cluster.of_environment(tf_config(jobs, kind, index))
    assert cluster is not None
    assert (cluster.index, cluster.is_chief) == (place, place == 0)
    assert json.loads(cluster.tf_config()) == {"cluster": jobs, "task": {"type": kind, "index": index}}


def test_one_process_is_no_cluster() -> None:
    assert Cluster.of_environment({}) is None
    assert Cluster.of_environment({"TF_CONFIG": ""}) is None
    assert Cluster.of_environment({"TF_CONFIG": "{}"}) is None
    assert Cluster.of_environment(tf_config({"worker": ["a:1"]})) is None


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TF_CONFIG": "{"}, "must be JSON as .*Received: {"),
        ({"TF_CONFIG": "[]"}, "must be JSON as"),
        (tf_config({"worker": ["a:1"], "ps": ["p:1"]}), "jobs chief and worker.*Received: ps"),
        (tf_config({"worker": ["a:1", "b:1"]}, index=2), "name a task of its cluster"),
        (tf_config({"worker": ["a:1", "b:1"]}, kind="chief"), "name a task of its cluster"),
        (tf_config({"chief": ["a:1", "b:1"]}, kind="chief"), "one chief at most"),
    ],
)
def test_a_tf_config_that_is_none_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Cluster.of_environment(environment)


def test_pods_know_each_other_by_their_index() -> None:
    cluster = Cluster.of_pods("train-{index}.train:2222", workers=3, index=2)
    assert cluster == Cluster(("train-0.train:2222", "train-1.train:2222", "train-2.train:2222"), 2)
    assert Cluster.of_environment({"TF_CONFIG": cluster.tf_config()}) == cluster


@pytest.mark.parametrize(
    ("pattern", "index", "message"),
    [
        ("train:2222", 0, r"with \{index\} in it"),
        ("train-{index}", 0, r"host:port with \{index\}"),
        ("train-{index}:2222", 3, "an index from 0 to 2, for 3 workers. Received: 3"),
    ],
)
def test_pods_that_are_none_are_refused(pattern: str, index: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Cluster.of_pods(pattern, workers=3, index=index)


def test_what_the_strategy_makes_of_tf_config() -> None:
    several = tf_config({"worker": ["a:1", "b:1"]}, index=1)
    assert training_cluster("auto", several) == training_cluster("multi_worker", several) == Cluster(("a:1", "b:1"), 1)
    assert training_cluster("none", several) is training_cluster("mirrored", several) is None
    assert training_cluster("auto", {}) is None
    with pytest.raises(ConfigError, match="multi_worker needs TF_CONFIG with two workers or more"):
        training_cluster("multi_worker", tf_config({"worker": ["a:1"]}))
