"""The exported model's metric from three first states: what is measured on, and what isn't measurable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.experiments.exported_first_states import MOST_SEQUENCES, exported_first_states, sample, to_json

# Keras, saving a model, uses what NumPy 2 deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def artifact(classification, tmp_path_factory) -> Any:
    """``artifact(…)``: a model artifact of an untrained model whose weights are drawn so that states matter."""
    import keras

    from noisy_gru.trainer.config import TrainerConfig
    from noisy_gru.trainer.export.saved_model import keras_folder, save_keras
    from noisy_gru.trainer.model import build_model
    from noisy_gru.trainer.training_context import prepare_training

    def make(stddev: float = 2.0, members: int = 1) -> str:
        settings = {"model": {"layers": [{"units": 4, "stddev": stddev}]}, "training": {"members": members}}
        config = CustomConfig(classification.dataset, TrainerConfig.model_validate(settings))
        folder = tmp_path_factory.mktemp("artifact")
        context = prepare_training(classification.fn_args(folder, {}), config)
        model = build_model(config.trainer.model, context.layout, context.sizes, seed=0)
        random = np.random.default_rng(4)
        for weight in model.weights:
            weight.assign(random.normal(0, 1.5, weight.shape).astype(np.float32))
        keras.utils.set_random_seed(0)
        serving = str(folder / "Format-Serving")
        save_keras(model, config, keras_folder(serving))
        return serving

    return make


@pytest.fixture(scope="module")
def examples(classification) -> list[bytes]:
    from tests.trainer.conftest import example

    return [example(row) for row in classification.rows["test"]]


def test_the_clean_metric_is_that_of_the_answers(artifact, classification, examples):
    from noisy_gru.trainer.export.saved_model import load_for_parity

    serving = artifact()
    found = exported_first_states(serving, classification.graph, examples, seed=3)
    served = load_for_parity(serving, classification.graph)
    answers, labels = served.from_examples(examples), served.labels_of(examples)["label"].numpy()
    right = answers["class_id"].numpy() == labels
    assert found["metric"] == "accuracy"
    assert found["clean"] == pytest.approx(right[labels >= 0].mean(), abs=1e-6)
    assert (found["sequences"], found["of"]) == (int((labels >= 0).sum()), len(examples))
    assert found["not_measured"] == {}
    assert {found["clean"], found["noisy_start"], found["carried_start"]} != {found["clean"]}
    assert json.loads(to_json(found)) == found
    # Whatever order Beam wrote them in.
    assert exported_first_states(serving, classification.graph, examples[::-1], seed=3) == found


def test_what_can_not_be_measured_says_why(artifact, classification, examples, tmp_path: Path):
    def reasons(serving: str, given: list[bytes]) -> dict[str, str]:
        found = exported_first_states(serving, classification.graph, given, seed=0)
        assert all(found[start] is None for start in found["not_measured"])
        return found["not_measured"]

    assert "no Keras file" in reasons(str(tmp_path / "Format-Serving"), examples)["clean"]
    assert "training.members" in reasons(artifact(members=2), examples)["carried_start"]
    still = artifact(stddev=0.0)
    assert list(reasons(still, examples)) == ["noisy_start"]
    assert "stddev is 0" in reasons(still, examples)["noisy_start"]
    assert "holds one sequence" in reasons(still, examples[:1])["carried_start"]
    assert "holds no sequence" in reasons(still, [])["clean"]
    unknown = [each.replace(b"class ", b"klass ") for each in examples[:2]]
    assert "a class that train has" in reasons(still, unknown)["clean"]


def test_a_sample_is_bounded_and_the_same_in_any_order():
    short = [f"{number:05d}".encode() for number in range(1000)]
    assert len(sample(short)) == MOST_SEQUENCES
    assert sorted(sample(short)) == sorted(sample(short[::-1]))
    long = [bytes([number]) * 2_000_000 for number in range(40)]
    assert len(sample(long)) == 16
