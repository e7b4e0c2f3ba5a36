"""The messages that the client describes itself are those of tensorflow-serving-api and TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf import any_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from noisy_gru.serving.client.grpc_messages import MESSAGES, STATES, method, signature_defs

pytestmark = pytest.mark.slow


def theirs() -> dict[str, Descriptor]:
    """Every message that the API's requests and responses hold, by name."""
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

    modules = (predict_pb2, get_model_metadata_pb2, get_model_status_pb2)
    waiting = [each for module in modules for each in vars(module)["DESCRIPTOR"].message_types_by_name.values()]
    found: dict[str, Descriptor] = {}
    while waiting:
        message = waiting.pop()
        if message.full_name not in found:
            found[message.full_name] = message
            waiting += [field.message_type for field in message.fields if field.message_type is not None]
            waiting += [any_pb2.Any.DESCRIPTOR]
    return {message.name: message for message in found.values()}


def kind(field: FieldDescriptor) -> tuple[Any, ...]:
    """A field as it is on the wire; an enum is an int32, a map a list of entries."""
    number = FieldDescriptor.TYPE_INT32 if field.type == FieldDescriptor.TYPE_ENUM else field.type
    inner = field.message_type
    entry = inner is not None and inner.GetOptions().map_entry
    value = [kind(each) for each in inner.fields] if inner is not None and entry else None
    return field.number, number, field.label, None if inner is None or entry else inner.name, value


@pytest.mark.filterwarnings("ignore:.*label:DeprecationWarning")
@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_message_is_as_it_is_described(name: str) -> None:
    known = {field.name: kind(field) for field in theirs()[name].fields}
    ours = {field.name: kind(field) for field in MESSAGES[name].DESCRIPTOR.fields}
    assert ours == {field: known[field] for field in ours}


def test_the_states_of_a_version() -> None:
    from tensorflow_serving.apis import get_model_status_pb2

    state = vars(get_model_status_pb2)["ModelVersionStatus"].State
    assert {number: name for name, number in state.items()} == STATES


def test_the_methods() -> None:
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    class Channel:
        def __init__(self) -> None:
            self.paths: list[str] = []

        def unary_unary(self, path: str, **_: Any) -> None:
            self.paths.append(path)

    known, ours = Channel(), Channel()
    prediction_service_pb2_grpc.PredictionServiceStub(known)
    model_service_pb2_grpc.ModelServiceStub(known)
    for service, name, message in (
        ("PredictionService", "Predict", "Predict"),
        ("PredictionService", "GetModelMetadata", "GetModelMetadata"),
        ("ModelService", "GetModelStatus", "GetModelStatus"),
    ):
        method(ours, service, name, message)
    assert set(ours.paths) <= set(known.paths)


def test_a_request_reads_the_same_on_the_other_side() -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    from noisy_gru.saved_model.tensor_protos import make_tensor_proto

    request = MESSAGES["PredictRequest"]()
    request.model_spec.name = "small"
    request.model_spec.version.value = 4
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    make_tensor_proto(array, into=request.inputs["features"])
    read = vars(predict_pb2)["PredictRequest"].FromString(request.SerializeToString(deterministic=True))
    assert (read.model_spec.name, read.model_spec.version.value) == ("small", 4)
    np.testing.assert_array_equal(tf.make_ndarray(read.inputs["features"]), array)


def test_other_metadata_holds_no_signatures() -> None:
    response = MESSAGES["GetModelMetadataResponse"]()
    assert signature_defs(response) is None
    response.metadata["signature_def"].type_url = "type.googleapis.com/google.protobuf.Int64Value"
    assert signature_defs(response) is None
