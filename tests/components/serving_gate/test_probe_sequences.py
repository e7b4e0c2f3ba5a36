"""The gate asks for categorical inputs by the names that the export gives them."""

from noisy_gru.components.serving_gate.signature_contract import promised_inputs
from noisy_gru.schema.config import DatasetConfig


def test_a_column_name_that_tensorflow_refuses():
    dataset = DatasetConfig.model_validate(
        {
            "data": {
                "files": ["a.csv"],
                "entity": "id",
                "time": {"column": "t"},
                "features": ["x", {"name": "kind of day", "kind": "categorical"}],
            },
            "task": {"kind": "classification", "label": "y"},
        }
    )
    assert promised_inputs(dataset)["serving_tensors"] == {
        "features": ("float32", (None, None, 1)),
        "lengths": ("int64", (None,)),
        "kind_of_day": ("string", (None, None)),
    }
