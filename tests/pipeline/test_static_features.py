"""Static features through TFX's launcher, from a CSV file to a server's answers: they are needed to be right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from noisy_gru import Client, load_config, predict
from noisy_gru.pipeline.cli.main import app
from noisy_gru.schema.derivation import derive_schema
from noisy_gru.schema.loading import load_schema

# TFX, Beam and ML Metadata warn of their own use of what they deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.filterwarnings("default")]

ENTITIES, STEPS = 500, 8
CONFIG = """\
name: valves
schema: schema.pbtxt
data:
  files: [rows.csv]
  entity: valve
  time: {column: t, kind: integer}
  features:
    - flow
    - {name: limit, static: true}
    - {name: mounting, kind: categorical, static: true, embedding_dim: 2}
task: {kind: classification, label: state}
splits: {by: entity, eval: 0.15, test: 0.25}
model:
  layers: [{units: 16, stddev: 0.05}, {units: 8, stddev: 0.02}]
  serving_step: true
training: {epochs: 60, learning_rate: 0.01, schedule: {kind: cosine}, early_stopping: {patience: 60}}
evaluation: {slices: [[mounting]]}
"""


def rows(count: int, seed: int) -> pd.DataFrame:
    """Valves that are `open` where the flow is above their limit; in those mounted in reverse, below it.

    Neither can be told from the flow, so without the static columns no model is better than a coin. The mounting stands
    in the first row alone.
    """
    random = np.random.default_rng(seed)
    parts = []
    for number in range(count):
        limit, reverse = random.uniform(-1, 1), bool(random.integers(2))
        level = limit + random.choice([-1, 1]) * random.uniform(0.4, 1.2)
        is_open = (level > limit) != reverse
        parts.append(
            pd.DataFrame(
                {
                    "valve": f"v{seed}-{number}",
                    "t": range(STEPS),
                    "flow": level + random.normal(0, 0.1, STEPS),
                    "limit": limit,
                    "mounting": ["reverse" if reverse else "straight", *[""] * (STEPS - 1)],
                    "state": "open" if is_open else "closed",
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("valves")
    frame = rows(ENTITIES, seed=1)
    other = rows(1, seed=9).assign(limit=range(STEPS))
    pd.concat([frame, other]).to_csv(folder / "rows.csv", index=False)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "schema.pbtxt").write_text("")
    return folder


def noisy_gru(*arguments: object) -> dict[str, Any]:
    """A command's answer as JSON, in a process of its own."""
    command = [sys.executable, "-c", "from noisy_gru.pipeline.cli.main import main; main()"]
    done = subprocess.run(
        [*command, *map(str, arguments), "--json"], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.stdout, done.stderr
    return {**json.loads(done.stdout), "code": done.returncode}


@pytest.fixture(scope="module")
def trained(project: Path) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["schema", "update", str(project / "config.yaml")])
    assert done.exit_code == 0, done.output
    return noisy_gru("run", project / "config.yaml", "--root", project / "with")


def test_it_is_right_with_them_and_a_coin_without(project: Path, trained: dict[str, Any]) -> None:
    assert trained["status"] == "succeeded", (trained["error"], trained["refusals"])
    assert trained["metrics"]["accuracy"] > 0.9
    # Refused, as it is no better than always the same class.
    alone = ("--set", "data.features=[flow]", "--set", "evaluation.slices=[]")
    without = noisy_gru("run", project / "config.yaml", "--root", project / "without", *alone)
    assert without["status"] == "refused", without["error"]
    assert without["metrics"]["accuracy"] < 0.65
    # Slices by the static column.
    (record,) = (project / "with" / "runs").glob("*.json")
    assert set(json.loads(record.read_text())["slices"]) == {"mounting=reverse", "mounting=straight"}
    # The valve whose limit changes is in no split.
    assert trained["rows"]["quarantined"] == {"conflicting_static": STEPS}
    assert trained["rows"]["kept"] == ENTITIES * STEPS


def test_the_schema_bounds_them_once(project: Path, trained: dict[str, Any]) -> None:
    assert trained["status"] == "succeeded"
    curated = load_schema(project / "schema.pbtxt")
    written = {feature.name: feature for feature in curated.feature}
    assert set(written["mounting"].string_domain.value) == {"reverse", "straight", ""}
    assert -8 < written["limit"].float_domain.min < -1  # the changing valve goes up to 7
    derived = derive_schema(curated, load_config(project / "config.yaml").dataset)
    counts = {feature.name: (feature.value_count.min, feature.value_count.max) for feature in derived.feature}
    assert counts["limit"] == counts["mounting"] == (1, 1)
    assert counts["flow"] == (1, 1000)


def test_predictions_client_and_stream(project: Path, trained: dict[str, Any]) -> None:
    """Rows give one answer, however they reach the model."""
    from noisy_gru.serving.local_server import LocalServer

    assert trained["status"] == "succeeded"
    config = load_config(project / "config.yaml")
    frame = rows(20, seed=3)
    request = frame.drop(columns="state")
    truth = frame.groupby("valve")["state"].first()

    def answers_of(found: Any) -> dict[str, Any]:
        return {answer["sequence_id"]: answer for answer in found.answers}

    found = answers_of(predict(config, request, root=project / "with"))
    assert set(found) == set(truth.index)
    right = np.mean([found[name]["state"] == truth[name] for name in truth.index])
    assert right >= 0.9
    with LocalServer({"valves": project / "with" / "serving" / "valves"}) as server:
        for target in (server.grpc_address, f"http://{server.rest_address}"):
            with Client(target, dataset=config.dataset, model_name="valves") as client:
                served = answers_of(client.predict(request))
                stream = client.stream()
                # The static values come with the first event alone.
                first = request[request["t"] == 0].to_dict("records")
                stream.send(first)
                rest = request[request["t"] > 0][["valve", "t", "flow"]]
                middle = json.loads(json.dumps(stream.state_dict()))
                streamed = answers_of(stream.send(rest))
                again = client.stream()
                again.load_state_dict(middle)
                resumed = answers_of(again.send(rest))
                conflict = stream.send([{"valve": "v3-0", "t": 99, "flow": 1.0, "limit": 5.0}])
                assert [line["reason"] for line in conflict.unusable] == ["conflicting_static"]
            for name, answer in found.items():
                for other in (served, streamed, resumed):
                    assert other[name]["state"] == answer["state"]
                    numbers = [name for name, value in answer.items() if isinstance(value, float)]
                    assert len(numbers) >= 2
                    for column in numbers:
                        np.testing.assert_allclose(other[name][column], answer[column], atol=1e-5)
