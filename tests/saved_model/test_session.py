"""SessionModel against TensorFlow's own Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.errors import ModelError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module with every dtype of the contract, a table, a failing check."""
    import tensorflow as tf

    class Echo(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = tf.Variable(tf.constant([[1.5, -2.0]]))
            file = tmp_path_factory.mktemp("vocabulary") / "words.txt"
            file.write_text("zero\none\ntwo\n")
            self.table = tf.lookup.StaticHashTable(
                tf.lookup.TextFileInitializer(
                    str(file),
                    tf.string,
                    tf.lookup.TextFileIndex.WHOLE_LINE,
                    tf.int64,
                    tf.lookup.TextFileIndex.LINE_NUMBER,
                ),
                default_value=-1,
            )

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, 1], tf.float32, "x"),
                tf.TensorSpec([None], tf.int64, "n"),
                tf.TensorSpec([None], tf.bool, "flag"),
                tf.TensorSpec([None], tf.string, "word"),
            ]
        )
        def all_types(self, x: Any, n: Any, flag: Any, word: Any) -> dict[str, Any]:
            return {
                "product": x @ self.weight,
                "next": n + 1,
                "not": ~flag,
                "shout": word + "!",
                "id": self.table.lookup(word),
                "scalar": tf.reduce_sum(x),
            }

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def positive(self, x: Any) -> dict[str, Any]:
            with tf.control_dependencies([tf.debugging.assert_positive(x, "x must be positive, said the graph")]):
                return {"y": tf.identity(x)}

    module = Echo()
    folder = tmp_path_factory.mktemp("echo") / "model"
    tf.saved_model.save(module, str(folder), {"all_types": module.all_types, "positive": module.positive})
    return folder


def test_answers_equal_tensorflows(echo: Path) -> None:
    import tensorflow as tf

    long = "x" * 5000  # beyond the strings that TF_TString keeps inline
    inputs = {
        "x": np.array([[1.0], [2.0], [-3.5], [0.0]], np.float32),
        "n": np.array([1, -2, 2**60, 0]),
        "flag": np.array([True, False, True, True]),
        "word": ["one", "two", long, b"\x00bytes\xff"],
    }
    with SessionModel(echo) as model:
        first = model.run("all_types", inputs)
        again = model.run("all_types", inputs)
    expected = tf.saved_model.load(str(echo)).signatures["all_types"](
        **{name: tf.constant(value) for name, value in inputs.items()}
    )
    assert set(first) == set(expected)
    for name, tensor in expected.items():
        assert first[name].shape == tensor.shape
        np.testing.assert_array_equal(first[name], tensor.numpy())
        np.testing.assert_array_equal(first[name], again[name])
    assert first["shout"][2] == long.encode() + b"!"


def test_signatures_are_as_tensorflow_lists_them(exported: tuple[Path, Any]) -> None:
    with SessionModel(exported[0]) as model:
        default, tensors = model.signatures["serving_default"], model.signatures["serving_tensors"]
    assert {name: (spec.dtype, spec.shape) for name, spec in tensors.inputs.items()} == {
        "features": ("float32", (None, None, 2)),
        "lengths": ("int64", (None,)),
    }
    assert {name: (spec.dtype, spec.shape) for name, spec in default.inputs.items()} == {
        "examples": ("string", (None,))
    }
    assert default.outputs["probabilities"].shape == (None, 3)
    assert default.outputs["labels_bytes"].dtype == "string"
    assert default.method == "tensorflow/serving/predict"


def test_no_sequences_give_no_answers(exported: tuple[Path, Any]) -> None:
    with SessionModel(exported[0], threads=1) as model:
        answers = model.run("serving_default", {"examples": []})
    assert answers["probabilities"].shape == (0, 3)


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("other", {}, "no signature other.*it has all_types, positive"),
        ("positive", {}, "takes x; received none, so x is missing"),
        ("positive", {"x": [1.0], "y": [1.0]}, "takes x; received x, y"),
        ("positive", {"x": [[1.0]]}, r"the shape \[None\]; received \[1, 1\]"),
        ("positive", {"x": ["word"]}, "takes float32; received"),
        ("positive", {"x": [-1.0]}, "x must be positive, said the graph"),
        ("all_types", {"x": [[1.0]], "n": [1.5], "flag": [True], "word": ["a"]}, "n takes int64; received float64"),
        ("all_types", {"x": [[1.0]], "n": [1], "flag": [True], "word": [3]}, "word takes strings.*received int"),
    ],
)
def test_mistakes_are_named(echo: Path, signature: str, inputs: dict[str, Any], message: str) -> None:
    with SessionModel(echo) as model, pytest.raises(ModelError, match=message):
        model.run(signature, inputs)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no saved_model\.pb"):
        SessionModel(tmp_path)


def test_a_broken_file_gives_tensorflows_reason(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"not a proto")
    with pytest.raises(ModelError, match=r"can't load .* in a Session, so TF Serving can't: ."):
        SessionModel(tmp_path)


def test_what_only_python_can_load_is_refused(tmp_path: Path, exported: tuple[Path, Any]) -> None:
    import tensorflow as tf

    tf.saved_model.save(exported[1], str(tmp_path / "model"))
    assert tf.saved_model.load(str(tmp_path / "model")) is not None
    with (
        pytest.raises(ModelError, match="Could not find variable"),
        SessionModel(tmp_path / "model") as model,
    ):
        inputs = model.signatures["serving_default"].inputs
        zeros = {name: np.zeros((1, 2, 2)[: len(spec.shape or ())], spec.dtype) for name, spec in inputs.items()}
        model.run("serving_default", zeros)


def test_a_closed_model_says_so(echo: Path) -> None:
    model = SessionModel(echo)
    model.close()
    model.close()
    with pytest.raises(ModelError, match="closed"):
        model.run("positive", {"x": [1.0]})


def test_an_answer_that_is_no_number_names_its_rows(
    export_model: Callable[..., Any], tmp_path: Path, serialized_examples: list[bytes]
) -> None:
    import tensorflow as tf

    def spoil(probabilities: Any) -> Any:
        rows = tf.range(tf.shape(probabilities)[0])[:, None]
        return probabilities / tf.cast(rows % 3 - 1, tf.float32)  # row 1, 4, 7, ...: infinity

    export_model(tmp_path / "model", spoil=spoil)
    with SessionModel(tmp_path / "model") as model:
        with pytest.raises(ModelError, match=r"NaN or infinity in the rows 1, 4, 7, 10, 13 and 1 more \("):
            model.run("serving_default", {"examples": serialized_examples[:18]})
        assert len(model.run("serving_default", {"examples": serialized_examples[:1]})["class_id"]) == 1


def test_features_that_the_model_does_not_read(exported: tuple[Path, Any], serialized_examples: list[bytes]) -> None:
    misspelt = [each.replace(b"\n\x01a", b"\n\x01A").replace(b"\n\x01b", b"\n\x01B") for each in serialized_examples]
    with SessionModel(exported[0]) as model:
        with pytest.raises(ModelError, match=r"0: it has none of the model's features \(a, b\)"):
            model.run("serving_default", {"examples": misspelt[:1]})
        with pytest.raises(ModelError, match="Of 3, counted from 0, 1: it has none of the model's features"):
            model.run("serving_default", {"examples": [serialized_examples[0], misspelt[1], serialized_examples[2]]})


def test_tensorflow_is_not_imported(exported: tuple[Path, Any]) -> None:
    code = (
        "import sys; from noisy_gru.saved_model.session import SessionModel\n"
        f"model = SessionModel({str(exported[0])!r}); model.run('serving_default', {{'examples': []}})\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'keras')])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
