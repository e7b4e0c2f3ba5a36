"""What the gate asks a model: names of the inputs, how many sequences, and what a stream is compared with."""

import numpy as np
import pytest

from noisy_gru.components.serving_gate.probe_plan import make_probe_plan
from noisy_gru.components.serving_gate.probe_sequences import beginning, example_values, read_examples
from noisy_gru.components.serving_gate.signature_contract import promised_inputs
from noisy_gru.components.serving_gate.stream_requests import cuts
from noisy_gru.registry.config import BudgetsConfig
from noisy_gru.schema.config import DatasetConfig


def _dataset(features: list) -> DatasetConfig:
    return DatasetConfig.model_validate(
        {
            "data": {"files": ["a.csv"], "entity": "id", "time": {"column": "t"}, "features": features},
            "task": {"kind": "classification", "label": "y"},
        }
    )


def test_a_column_name_that_tensorflow_refuses():
    dataset = _dataset(["x", {"name": "kind of day", "kind": "categorical"}])
    assert promised_inputs(dataset)["serving_tensors"] == {
        "features": ("float32", (None, None, 1)),
        "lengths": ("int64", (None,)),
        "kind_of_day": ("string", (None, None)),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "steps", "compared", "held_out"), [(300, 20, 32, 256), (40, 5_000, 16, 16), (10, 40_000, 8, 8)]
)
def test_what_is_asked_is_bounded_however_long_the_sequences_are(tmp_path, count, steps, compared, held_out):
    """Sequences of 12 columns: at most 10^6 values in a comparison, or 8 sequences, with shortest and longest."""
    import tensorflow as tf

    def sequence(length: int) -> bytes:
        values = tf.train.Feature(float_list=tf.train.FloatList(value=np.full(length, length, np.float32)))
        return tf.train.Example(
            features=tf.train.Features(feature={f"x{n}": values for n in range(12)})
        ).SerializeToString(deterministic=True)

    middle = sequence(steps - 1)
    ordered = [sequence(steps - 2), *[middle] * (count - 2), sequence(steps)]
    plan = make_probe_plan(
        tmp_path, ordered, _dataset([f"x{n}" for n in range(12)]), BudgetsConfig(batch_size=4), {}, serving_step=False
    )
    sizes = {part.name.rsplit(" ", 1)[0]: len(part.examples) for part in plan.parts}
    assert sizes["sequences of all lengths"] == sizes["sequences of all lengths, padded otherwise"] == compared
    assert sizes["a batch of the configured size"] == 4
    assert len(plan.held_out) == held_out
    asked = {part.name.rsplit(" ", 1)[0]: part for part in plan.parts}
    for chosen in (plan.held_out, asked["sequences of all lengths"].examples):
        assert (chosen[0], chosen[-1]) == (ordered[0], ordered[-1])
    whole = {"the longest sequence", "sequences of all lengths"}
    for name, part in asked.items():
        assert part.examples[-1] == ordered[-1] or name not in whole
        assert part.tensors["lengths"].max() <= (steps if name in whole else min(steps, 1_000)), name
    assert ("others the first 1000 alone" in plan.left_out) == (steps > 1_000)
    again = plan.repeated
    if steps == 20:
        assert again == list(plan.questions)
    else:
        assert sorted(plan.questions[name].signature for name in again) == ["serving_default", "serving_tensors"]


@pytest.mark.slow
def test_the_beginning_of_a_sequence_has_the_future_after_it():
    import tensorflow as tf

    def numbers(values: list[float]) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    features = ["x", {"name": "plan", "known_in_advance": True}, {"name": "size", "static": True}]
    dataset = DatasetConfig.model_validate(
        {
            "data": {
                "files": ["a.csv"],
                "entity": "id",
                "time": {"column": "t", "kind": "integer"},
                "features": features,
            },
            "task": {"kind": "forecasting", "targets": ["x"], "input_length": 5, "horizons": [1, 2]},
        }
    )
    lists = {"x": numbers([1, 2, 3, 4, 5]), "plan": numbers([11, 12, 13, 14, 15, 16, 17]), "size": numbers([9])}
    steps = tf.train.Feature(int64_list=tf.train.Int64List(value=[5]))
    example = tf.train.Example(features=tf.train.Features(feature=lists | {"steps": steps})).SerializeToString()
    found = {name: list(values) for name, values in example_values(beginning(example, dataset, 3)).items()}
    assert found == {"x": [1, 2, 3], "plan": [11, 12, 13, 14, 15], "size": [9], "steps": [3]}
    assert beginning(example, dataset, 5) == example


@pytest.mark.slow
def test_a_stream_is_compared_with_its_own_steps_alone():
    """What `serving_tensors` gets as the whole, read back from the pieces that were sent before."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    rows = [random.normal(size=length).astype(np.float32) for length in (3, 40, 1_500)]
    ordered = [
        tf.train.Example(
            features=tf.train.Features(feature={"x": tf.train.Feature(float_list=tf.train.FloatList(value=row))})
        ).SerializeToString(deterministic=True)
        for row in rows
    ]
    for cut in cuts(ordered, _dataset(["x"]), 1):
        sent = [np.zeros(0, np.float32)] * len(rows)
        for call, request in cut.questions.items():
            lengths, values = request.inputs["lengths"], request.inputs["features"][..., 0]
            if request.signature == "serving_step":
                sent = [np.append(before, row[:n]) for before, row, n in zip(sent, values, lengths, strict=True)]
                continue
            assert values.shape[1] == lengths.max() + 1, call
            for before, row, n in zip(sent, values, lengths, strict=True):
                np.testing.assert_array_equal(before, row[:n])
        if "step by step" not in cut.name:
            for before, row in zip(sent, rows, strict=True):
                np.testing.assert_array_equal(before, row[:1_000])


@pytest.mark.slow
def test_few_long_sequences_are_read(tmp_path):
    """64 MB and 32 sequences are enough, of however many."""
    import tensorflow as tf

    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)
    with tf.io.TFRecordWriter(str(tmp_path / "data_tfrecord-00000-of-00001.gz"), options) as writer:
        for _ in range(40):
            writer.write(bytes(4_000_000))
    assert len(read_examples(tmp_path)) == 32
    assert len(read_examples(tmp_path, 3)) == 3
