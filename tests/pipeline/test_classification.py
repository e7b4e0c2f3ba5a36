"""Convolutions and random kernels through TFX's launcher, from published files to a server's answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from noisy_gru import Client, load_config, predict

# TFX, Beam and ML Metadata warn of their own use of what they deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

ROOT = Path(__file__).resolve().parents[2]
VOWELS = ROOT / "examples" / "japanese_vowels"
CHANGES = {
    "name": "vowels",
    "schema": str(ROOT / "schema" / "japanese_vowels" / "schema.pbtxt"),
    "model": {
        "preset": "classification",
        "layers": [{"units": 16}],
        "convolutions": {"filters": [24, 16], "kernels": [5, 3], "pool": 10},
        "random_kernels": {"dilations": [1, 2]},
    },
    "training": {"epochs": 25, "batch_size": 16, "schedule": {"kind": "cosine"}, "early_stopping": None},
    "evaluation": {"thresholds": {"accuracy": {"min": 0.9}}},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("vowels")
    config = {**yaml.safe_load((VOWELS / "config.yaml").read_text()), **CHANGES}
    config["data"]["files"] = {split: [str(VOWELS / f"{split}.csv.gz")] for split in ("train", "test")}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-c", "from noisy_gru.pipeline.cli.main import main; main()", "run"]
    command += [str(folder / "config.yaml"), "--root", str(folder / "root"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
    assert done.stdout, done.stderr
    return folder, json.loads(done.stdout)


def test_a_session_a_server_and_predict_answer_alike(trained: tuple[Path, dict[str, Any]]) -> None:
    from noisy_gru.serving.local_server import LocalServer

    folder, result = trained
    # The gates compared Session, Keras and the signatures before it was published.
    assert result["status"] == "succeeded", (result["error"], result["refusals"])
    assert result["metrics"]["accuracy"] > 0.9
    config = load_config(folder / "config.yaml")
    table = pd.read_csv(VOWELS / "test.csv.gz", dtype={"speaker": str})
    truth = dict(table.groupby("utterance")["speaker"].first().iloc[::12].items())
    request = table[table["utterance"].isin(truth)].drop(columns="speaker")

    def answers_of(found: Any) -> dict[str, Any]:
        return {answer["sequence_id"]: answer for answer in found.answers}

    found = answers_of(predict(config, request, root=folder / "root"))
    assert set(found) == set(truth)
    assert np.mean([answer["speaker"] == truth[name] for name, answer in found.items()]) > 0.8
    with LocalServer({"vowels": folder / "root" / "serving" / "vowels"}) as server:
        for target in (server.grpc_address, f"http://{server.rest_address}"):
            with Client(target, dataset=config.dataset, model_name="vowels") as client:
                served = answers_of(client.predict(request))
                # Alone, a sequence has other padding and no neighbours.
                first = request[request["utterance"] == next(iter(truth))]
                alone = answers_of(client.predict(first))
            for name, answer in [*served.items(), *alone.items()]:
                assert answer["speaker"] == found[name]["speaker"]
                numbers = [key for key, value in answer.items() if isinstance(value, float)]
                assert len(numbers) >= 9
                for column in numbers:
                    np.testing.assert_allclose(answer[column], found[name][column], atol=1e-5)
