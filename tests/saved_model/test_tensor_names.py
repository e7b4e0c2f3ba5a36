"""Names that TensorFlow takes, one for each categorical column."""

from __future__ import annotations

from noisy_gru.saved_model.tensor_names import tensor_names
from noisy_gru.schema.config import DataConfig


def test_names_are_valid_and_differ() -> None:
    columns = ["sky", "Sky", "kind/of it", "kind of it", "features", "LENGTHS", "_x", "Größe", "state"]
    features = [{"name": name, "kind": "categorical"} for name in columns]
    data = DataConfig.model_validate(
        {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": features}
    )
    assert tensor_names(data) == {
        "sky": "sky",
        "Sky": "Sky_",
        "kind/of it": "kind_of_it",
        "kind of it": "kind_of_it_",
        "features": "features_",
        "LENGTHS": "LENGTHS_",
        "_x": "c_x",
        "Größe": "Gr__e",
        "state": "state_",
    }
