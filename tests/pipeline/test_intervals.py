"""A whole run with quantiles: calibrated, judged by coverage, and the same from predict, gRPC, REST and streams."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru import Client, load_config, predict
from noisy_gru.data.sequences.example_files import example_files, read_examples
from noisy_gru.saved_model.session import SessionModel

# TFX, Beam and ML Metadata warn of their own use of what they deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

METERS, HOURS, PAST = 40, 84, 12
QUANTILES = [0.1, 0.5, 0.9]
CONFIG = """\
name: meters
schema: schema.pbtxt
data:
  files: [rows.csv]
  entity: meter
  time: {column: hour, kind: integer}
  features: [load]
task:
  kind: forecasting
  targets: [load]
  input_length: 12
  horizons: [1, 3]
  stride: 3
  season_length: 4
  quantiles: [0.1, 0.5, 0.9]
  output: {min: 0}
  units: kWh
splits: {by: entity, eval: 0.3, test: 0.3}
model:
  layers: [{units: 8, stddev: 0.05}]
  serving_step: true
training: {epochs: 8, learning_rate: 0.01}
evaluation:
  baselines: report
  thresholds: {coverage_0.8: {min: 0.6, max: 0.95}, crps: {max: 6}, msis_0.8: {max: 20}}
"""


def rows(meters: int, seed: int) -> pd.DataFrame:
    """Half of the meters are noisy; nothing else is to be known of the next value."""
    random = np.random.default_rng(seed)
    noise = np.where(np.arange(meters) % 2, 8.0, 1.0)[:, np.newaxis]
    load = np.maximum(20 + random.normal(size=(meters, HOURS)) * noise, 0).round(3)
    names = np.repeat([f"m{seed}-{number}" for number in range(meters)], HOURS)
    return pd.DataFrame({"meter": names, "hour": np.tile(np.arange(HOURS), meters), "load": load.ravel()})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("meters")
    rows(METERS, seed=1).to_csv(folder / "rows.csv", index=False)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "schema.pbtxt").write_text("")
    return folder


@pytest.fixture(scope="module")
def trained(project: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", "from noisy_gru.pipeline.cli.main import main; main()"]
    arguments = ["run", str(project / "config.yaml"), "--root", str(project / "root"), "--json"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=900)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_the_gate_measures_what_is_served(project: Path, trained: dict[str, Any]) -> None:
    import tensorflow as tf

    assert trained["status"] == "succeeded", (trained["error"], trained["refusals"])
    (folder,) = (project / "root" / "artifacts" / "SequenceExampleGen" / "examples").glob("*/Split-test")
    records = [record for file in example_files(folder) for record in read_examples(file)]
    features = [tf.train.Example.FromString(record).features.feature for record in records]
    truth = np.array([each["target/load"].float_list.value for each in features])
    past = np.array([each["load"].float_list.value for each in features])
    with SessionModel(trained["published_path"]) as session:
        quantiles = session.run("serving_default", {"examples": np.array(records, object)})["quantiles"][:, :, 0]
    assert (np.diff(quantiles, axis=-1) >= 0).all() and quantiles.min() >= 0
    low, high = quantiles[..., 0].astype(float), quantiles[..., 2].astype(float)
    metrics = trained["metrics"]
    assert metrics["coverage_0.8"] == pytest.approx(((truth >= low) & (truth <= high)).mean(), abs=1e-6)
    assert metrics["interval_width_0.8"] == pytest.approx((high - low).mean(), rel=1e-5)
    penalty = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    scale = np.abs(past[:, 4:] - past[:, :-4]).mean(axis=1, keepdims=True)
    assert metrics["msis_0.8"] == pytest.approx(((high - low + 10 * penalty) / scale).mean(), rel=1e-5)
    # The noisy meters have the wide intervals.
    noisy = past.std(axis=1) > 3
    assert (high - low)[noisy].mean() > 2 * (high - low)[~noisy].mean()
    calibration = json.loads(
        (Path(trained["published_path"]) / "assets.extra" / "retraining" / "calibration.json").read_text()
    )
    assert calibration["levels"] == QUANTILES and calibration["sequences"] == trained["sequences"]["eval"]


def test_every_way_gives_the_same_quantiles(project: Path, trained: dict[str, Any], tmp_path: Path) -> None:
    from noisy_gru.serving.client.anomalies import read_scores
    from noisy_gru.serving.local_server import LocalServer

    assert trained["status"] == "succeeded"
    config = load_config(project / "config.yaml")
    frame = rows(6, seed=3)
    request = frame[frame["hour"] < PAST]
    here = predict(config, request, root=project / "root")
    scores = read_scores(trained["published_path"])
    came = frame.pivot(index="meter", columns="hour", values="load").loc[request["meter"].unique(), [PAST, PAST + 2]]
    p_values = here.p_values(scores, came.to_numpy()[:, :, np.newaxis])
    assert p_values.shape == (6, 2, 1) and len(np.unique(p_values)) > 6
    table = here.to_arrow("long")
    assert table.column_names[4:8] == ["target", "quantile", "prediction", "units"]
    assert table["quantile"].to_pylist()[:4] == [None, *QUANTILES] and set(table["units"].to_pylist()) == {"kWh"}
    expected = here.to_pandas().set_index("sequence_id").sort_index()
    names = [f"load@{h}{end}" for h in (1, 3) for end in ("", "_q0.1", "_q0.5", "_q0.9")]
    assert list(expected) == names
    with LocalServer({"meters": project / "root" / "serving" / "meters"}) as server:
        for target in (server.grpc_address, f"http://{server.rest_address}"):
            with Client(target, dataset=config.dataset, model_name="meters") as client:
                found = client.predict(request).to_pandas().set_index("sequence_id").sort_index()
                np.testing.assert_allclose(found[names], expected[names], atol=1e-4)
                stream = client.stream()
                stream.send(request[request["hour"] < 5])
                answer = stream.send(request[request["hour"] >= 5])
                of_stream = answer.p_values(scores, came.loc[answer.ids].to_numpy()[:, :, np.newaxis])
                order = [request["meter"].unique().tolist().index(name) for name in answer.ids]
                np.testing.assert_allclose(of_stream, p_values[order], atol=0.02)
                streamed = answer.to_pandas().set_index("sequence_id").sort_index()
                np.testing.assert_allclose(streamed[names], expected[names], atol=1e-4)


def test_the_report_measures_the_same_coverage(project: Path, trained: dict[str, Any]) -> None:
    from noisy_gru.pipeline.report.account import run_account
    from noisy_gru.pipeline.report.page import run_page
    from noisy_gru.pipeline.runs.run_directory import RunDirectory

    directory = RunDirectory(project / "root")
    account = run_account(directory.records()[-1], directory.root)
    metrics, evaluation = trained["metrics"], account["evaluation"]
    (found,) = evaluation["targets"]
    assert found["interval"]["covered"] == pytest.approx(metrics["coverage_0.8"], abs=1e-6)
    assert found["interval"]["width"] == pytest.approx(metrics["interval_width_0.8"], rel=1e-5)
    by_horizon = {each["horizon"]: each["interval"]["covered"] for each in found["by_horizon"]}
    assert by_horizon == pytest.approx({h: metrics[f"coverage_0.8/load@{h}"] for h in (1, 3)}, abs=1e-6)
    assert all(
        low <= high
        for each in evaluation["windows"]
        for low, high in zip(each["low"]["load"], each["high"]["load"], strict=True)
    )
    assert "load: coverage by horizon" in run_page(account)
    assert account["notes"] == {}
    # A model that reads `load` alone, and of it what was last.
    (feature,) = account["importance"]["features"]
    assert (feature["name"], account["importance"]["lengths"]) == ("load", [PAST, PAST])
    assert feature["mae"]["mean"] > 0


def test_what_came_has_a_p_value(project: Path, trained: dict[str, Any], tmp_path: Path) -> None:
    """In predict and in score, which see other parts of the history: one number everywhere."""
    from noisy_gru.pipeline.batch_prediction.scoring import score_new_spans
    from noisy_gru.serving.client.anomalies import read_scores

    assert trained["status"] == "succeeded"
    config = load_config(project / "config.yaml")
    frame = rows(8, seed=4)
    spike = (frame["meter"] == "m4-0") & (frame["hour"] == 40)
    frame.loc[spike, "load"] = 90.0
    table = predict(config, frame, root=project / "root", anomalies=True).to_arrow("long").to_pandas()
    table = table[table["quantile"].isna()]
    assert len(table) == 8 * (HOURS - PAST + 1) * 2
    assert (table["actual"].isna() == table["p_value"].isna()).all() and table["actual"].isna().sum() == 8 * (1 + 3)
    # Quiet meters lie within their errors; the spike has the smallest p-value that this eval split allows.
    counts = read_scores(trained["published_path"]).counts[:, 0]
    at_spike = table[(table["entity"] == "m4-0") & (table["actual"] == 90.0)].set_index("horizon")["p_value"]
    np.testing.assert_allclose(at_spike[[1, 3]], 1 / (counts + 1), rtol=1e-5)
    others = table[table["entity"] != "m4-0"]["p_value"].dropna()
    assert 0.3 < others.mean() < 0.7 and (others <= 0.05).mean() < 0.15

    # New spans: history gives the steps before, and is not compared again.
    folder = tmp_path / "spans"
    folder.mkdir()
    frame[frame["hour"] < 42].to_csv(folder / "rows-1.csv", index=False)
    frame[frame["hour"] >= 42].to_csv(folder / "rows-2.csv", index=False)
    overrides = [
        f"score={{files: ['{folder}/rows-{{SPAN}}.csv'], first: 2, history: 1, anomalies: true, layout: long}}",
        f"score.out={tmp_path / 'scores'}",
    ]
    scored = score_new_spans(load_config(project / "config.yaml", overrides), root=project / "root")
    assert [each.outcome for each in scored] == ["scored"], scored
    found = pd.read_parquet(tmp_path / "scores" / "span=2")
    found = found[found["quantile"].isna() & found["actual"].notna()]
    assert len(found) == 8 * (HOURS - 42) * 2
    key = ["sequence_id", "horizon"]
    both = found.merge(table, on=key, suffixes=("", "_whole"))
    # A rank among the errors of eval, which the last bit of a forecast may move by one.
    np.testing.assert_allclose(both["p_value"], both["p_value_whole"], atol=0.02)
