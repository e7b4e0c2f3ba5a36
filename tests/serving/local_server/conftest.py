"""What the tests of the local server ask and expect."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.patience import PATIENCE

if TYPE_CHECKING:
    from noisy_gru.serving.local_server import LocalServer

# The tests look at the folders themselves, by `server.models.sync()`.
NEVER = 3600.0
INPUTS = {
    "features": np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 3, 2),
    "lengths": np.array([3, 2], np.int64),
}


class Asking:
    """A client of a local server for one model."""

    def __init__(self, server: LocalServer, name: str) -> None:
        import grpc
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        self.name = name
        self.channel = grpc.insecure_channel(server.grpc_address)
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def request(self, *, label: str | None = None, version: int | None = None) -> Any:
        from tensorflow_serving.apis import predict_pb2

        from noisy_gru.saved_model.tensor_protos import make_tensor_proto

        request = predict_pb2.PredictRequest()
        request.model_spec.name = self.name
        request.model_spec.signature_name = "serving_tensors"
        if label is not None:
            request.model_spec.version_label = label
        if version is not None:
            request.model_spec.version.value = version
        for name, array in INPUTS.items():
            request.inputs[name].CopyFrom(make_tensor_proto(array))
        return request

    def predict(self, **spec: Any) -> Any:
        return self.predictions.Predict(self.request(**spec), timeout=PATIENCE)

    def version(self, **spec: Any) -> int:
        """The version that answers."""
        return self.predict(**spec).model_spec.version.value

    def states(self) -> dict[int, str]:
        """Each version with its state, highest first."""
        from tensorflow_serving.apis import get_model_status_pb2

        names = get_model_status_pb2.ModelVersionStatus.State
        return {status.version: names.Name(status.state) for status in self.status()}

    def status(self) -> Any:
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self.name
        return self.models.GetModelStatus(request, timeout=PATIENCE).model_version_status

    def reload(self, text: str) -> Any:
        """HandleReloadConfigRequest with a ModelServerConfig in text."""
        from google.protobuf import text_format
        from tensorflow_serving.apis import model_management_pb2

        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(text, request.config)
        return self.models.HandleReloadConfigRequest(request, timeout=PATIENCE)


Serving = Callable[..., Any]


@pytest.fixture
def serving(base_path: Path) -> Iterator[Serving]:
    """``serve(**options)`` starts a server of `base_path`; gives it, a client and the list of what it logged."""
    from noisy_gru.serving.local_server import LocalServer

    with contextlib.ExitStack() as stack:

        def serve(models: Any = None, **options: Any) -> tuple[LocalServer, Asking, list[str]]:
            logged: list[str] = []
            if models is None and "config_file" not in options:
                models = {base_path.name: base_path}
            options = {"poll_seconds": NEVER, "log": logged.append, **options}
            server = stack.enter_context(LocalServer(models, **options))
            asking = Asking(server, base_path.name)
            stack.callback(asking.channel.close)
            return server, asking, logged

        yield serve


@pytest.fixture
def publish(base_path: Path, other_exported: Path) -> Callable[..., Path]:
    """``publish(version)`` puts another model beside version 1, by rename, as the Pusher does."""

    def publish(version: int, *, change: Callable[[Path], None] = lambda folder: None) -> Path:
        partial = base_path / f"partial-{version}"
        shutil.copytree(other_exported, partial)
        change(partial)
        return partial.rename(base_path / str(version))

    return publish


def write_warm_up(folder: Path, requests: list[Any]) -> None:
    """Puts warm-up requests into a SavedModel, with TensorFlow's own writer."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    file = folder / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString(deterministic=True))
