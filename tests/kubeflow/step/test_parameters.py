"""Short forms of parameters, and the protocol buffers that TFX's executors read."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from noisy_gru.kubeflow.step.parameters import as_data_uri, from_data_uri, long_forms
from noisy_gru.schema.errors import ConfigError


@pytest.mark.slow
def test_tfx_reads_them() -> None:
    from tfx.proto import trainer_pb2

    trainer: Any = trainer_pb2
    steps = trainer.TrainArgs()
    long = long_forms({"train_args": 200.0})
    json_format.Parse(long["train_args"], steps)
    assert steps.num_steps == 200


@pytest.mark.parametrize("nothing", [0, 0.0, "", "0"])
def test_no_steps_leave_the_epochs(nothing: Any) -> None:
    assert long_forms({"train_args": nothing}) == {"train_args": "{}"}


def test_what_is_json_already_stays() -> None:
    given = {"train_args": '{"num_steps": 5}', "span": "7"}
    assert long_forms(given) == given


@pytest.mark.parametrize("bad", ["latest", "-1", "1.5", 1.5])
def test_others_are_refused_by_name(bad: Any) -> None:
    with pytest.raises(ConfigError, match=r"parameter steps: expected a whole number.*Received"):
        long_forms({"train_args": bad})


def test_the_content_of_a_file_travels_as_it_is() -> None:
    content = "feature { name: 'ä' }\n".encode()
    assert from_data_uri(as_data_uri(content)) == content
    assert from_data_uri("gs://b/schema.pbtxt") is None
