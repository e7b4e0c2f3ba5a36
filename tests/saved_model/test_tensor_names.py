"""Names that TensorFlow takes, one for each categorical column."""

from __future__ import annotations

from typing import Any

from noisy_gru.saved_model.tensor_names import static_tensor_names, tensor_names
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


def test_static_columns_have_inputs_of_their_own() -> None:
    names = ["static_features", "static features", "sky", "Sky"]
    features: list[Any] = [{"name": "age", "static": True}, {"name": "x"}]
    features += [{"name": name, "kind": "categorical", "static": name != "sky"} for name in names]
    made = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}}
    data = DataConfig.model_validate({**made, "features": features})
    assert tensor_names(data) == {"sky": "sky"}
    assert static_tensor_names(data) == {
        "static_features": "static_features_",
        "static features": "static_features__",
        "Sky": "Sky_",
    }
    # Without a static number that name is free, as it always was.
    column = {"name": "static_features", "kind": "categorical"}
    assert tensor_names(DataConfig.model_validate({**made, "features": [column]})) == {
        "static_features": "static_features"
    }
