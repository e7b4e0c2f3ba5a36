"""Every value that train has is a word of its vocabulary, and comes back as it was."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisy_gru.trainer import features as names
from noisy_gru.trainer.features import Layout

pytestmark = pytest.mark.slow

ODD = [
    *("up\n(late)", "up", "up\r\n", "\n", "\r", "a\rb", "\\n", "\\", "a\\nb", "\\\\n", "C:\\new\\", "\t", " up", "up "),
    *("nul\0", "nul", "\u2028", "\x0b", "\x85", "ü\n", "true", "#", '"', "\ufeffup", "long " * 50_000),
]


def odd_dataset(datasets: Any) -> Any:
    plain = datasets.classification_dataset(1).model_dump(mode="json")
    plain["data"]["features"].append({"name": "kind", "kind": "categorical"})
    return type(datasets.classification_dataset(1)).model_validate(plain)


@pytest.fixture(scope="module")
def odd(datasets: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    rows = [{"x0": [0.5] * 2, "kind": [word, word], "label": [word]} for word in ODD]
    folder = tmp_path_factory.mktemp("odd")
    return datasets.run_transform(odd_dataset(datasets), {"train": rows}, folder)


def test_each_value_has_an_id_and_its_own_text(odd: Any, encode: Any) -> None:
    import tensorflow as tf
    import tensorflow_transform as tft

    from noisy_gru.trainer.transform_record import read_record
    from noisy_gru.trainer.vocabularies import read_vocabulary

    layout = Layout(odd.dataset)
    output = tft.TFTransformOutput(odd.graph)
    kinds, labels = (
        [word.decode() for word in read_vocabulary(output, name)]
        for name in (layout.vocabulary(0), names.LABEL_VOCABULARY)
    )
    assert Counter(kinds) == Counter(labels) == Counter(ODD)
    record = read_record(output, layout)
    assert (record.vocabularies["kind"], record.labels) == (kinds, labels)
    assert type(record).from_json(record.to_json()) == record

    raw = [encode(row) for row in odd.rows["train"]]
    outputs = output.transform_features_layer()(tf.io.parse_example(raw, output.raw_feature_spec()))
    assert [kinds[row[0]] for row in outputs[layout.ids(0)].to_list()] == ODD
    assert [labels[place] for place in outputs[names.LABEL].numpy()] == ODD
    unknown = encode({"x0": [0.5], "kind": ["up\n"], "label": ["up\n"]})
    outputs = output.transform_features_layer()(tf.io.parse_example([unknown], output.raw_feature_spec()))
    assert outputs[layout.ids(0)].to_list() == [[len(ODD)]]
    assert outputs[names.LABEL].numpy().tolist() == [-1]


def test_a_server_answers_with_the_classes_as_they_were(odd: Any, encode: Any, tmp_path: Path) -> None:
    import tensorflow_transform as tft

    from noisy_gru.saved_model.session import SessionModel
    from noisy_gru.saved_model.tensor_names import tensor_names
    from noisy_gru.trainer.export.saved_model import export_saved_model
    from noisy_gru.trainer.export.served_model import ServedModel
    from noisy_gru.trainer.model import VocabularySizes, build_model
    from noisy_gru.trainer.model_config import ModelConfig

    layout, output = Layout(odd.dataset), tft.TFTransformOutput(odd.graph)
    config = ModelConfig.model_validate({"layers": [{"units": 2}]})
    model = build_model(config, layout, VocabularySizes(len(ODD), (len(ODD) + 1,)), seed=1, for_serving=True)
    export_saved_model(ServedModel(model, output, layout, config), str(tmp_path))
    (tensor,) = tensor_names(odd.dataset.data).values()
    with SessionModel(tmp_path) as served:
        answers = served.run("serving_default", {"examples": [encode(row) for row in odd.rows["train"]]})
        padded = served.run(
            "serving_tensors",
            {
                "features": np.full((len(ODD), 2, 1), 0.5, np.float32),
                "lengths": np.full(len(ODD), 2, np.int64),
                tensor: np.array([[word.encode()] * 2 for word in ODD], object),
            },
        )
    assert Counter(word.decode() for word in answers["labels_bytes"][0]) == Counter(ODD)
    for name, values in answers.items():
        assert (padded[name] == values).all(), name
