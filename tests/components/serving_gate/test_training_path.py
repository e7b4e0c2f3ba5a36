"""Exports whose Transform isn't the one that the model was trained behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.components.serving_gate.gate import judge
from noisy_gru.components.serving_gate.keras_reference import Reference, keras_reference
from noisy_gru.components.serving_gate.probe_plan import read_signatures, warmup_requests
from noisy_gru.components.serving_gate.report import GateReport
from noisy_gru.components.serving_gate.warmup import stamp
from noisy_gru.registry.config import BudgetsConfig
from noisy_gru.trainer.custom_config import CustomConfig

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


class Spoilt:
    """Transform's output with a layer that changes the raw features first."""

    def __init__(self, transform: Any, spoil: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._transform, self._spoil = transform, spoil

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transform, name)

    def transform_features_layer(self) -> Any:
        import tensorflow as tf

        layer, spoil = self._transform.transform_features_layer(), self._spoil

        class Layer(tf.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = layer

            def __call__(self, raw: dict[str, Any]) -> Any:
                return self.inner(raw | spoil(raw))

        return Layer()


@pytest.fixture
def gate(trained: Any, tmp_path: Path) -> Callable[..., GateReport]:
    """Exports a model behind a spoilt Transform, and judges it; parity is left to agree with what was exported."""
    import tensorflow as tf
    import tensorflow_transform as tft

    from noisy_gru.trainer.export.saved_model import export_saved_model, keras_folder, save_keras
    from noisy_gru.trainer.export.served_model import ServedModel
    from noisy_gru.trainer.features import Layout

    def _gate(spoil: Callable[[dict[str, Any]], dict[str, Any]]) -> GateReport:
        transform: Any = Spoilt(tft.TFTransformOutput(trained.transform_graph), spoil)
        served = ServedModel(trained.model, transform, Layout(trained.dataset), trained.trainer.model)
        folder = str(tmp_path / "model" / "Format-Serving")
        export_saved_model(served, folder)
        save_keras(trained.model, CustomConfig(trained.dataset, trained.trainer), keras_folder(folder))

        def reference() -> Reference:
            def same(examples: list[bytes]) -> dict[str, Any]:
                answers: dict[str, Any] = served.from_examples(tf.constant(examples))
                return {name: tensor.numpy() for name, tensor in answers.items()}

            return dataclasses.replace(keras_reference(folder, trained.transform_graph), from_examples=same)

        budgets, signatures = BudgetsConfig(batch_size=5), read_signatures(Path(folder))
        requests = warmup_requests(trained.held_out, trained.dataset, 5, signatures, serving_step=True)
        stamp(Path(folder), tmp_path / "copy", requests, "tiny")
        return judge(
            tmp_path / "copy", trained.held_out, trained.dataset, reference, budgets=budgets, serving_step=True
        )

    return _gate


def test_the_transform_of_training_is_blessed(gate: Callable[..., GateReport]) -> None:
    report = gate(lambda raw: {})
    assert report.blessed, report.text()
    differences = {
        check.name: check.numbers["largest_difference"]
        for check in report.checks
        if "largest_difference" in check.numbers
    }
    assert set(differences) == {"both signatures", "parity with Keras", "skew", "streams"}
    assert max(differences.values()) < 1e-5


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: {"warm": raw["cold"], "cold": raw["warm"]},
        lambda raw: {"warm": raw["warm"].with_values(1.05 * raw["warm"].values)},
    ],
    ids=["two features are swapped", "one is scaled otherwise"],
)
def test_another_transform_than_that_of_training_is_skew(spoil: Any, gate: Callable[..., GateReport]) -> None:
    report = gate(spoil)
    assert [check.name for check in report.checks if not check.passed] == ["skew"]
    assert report.problems[0].startswith("the served model and the way of training differ by")
    assert "24 held-out sequences as training reads them" in report.problems[0]
    (skew,) = [check for check in report.checks if check.name == "skew"]
    assert skew.numbers["largest_difference"] > 1e-3
