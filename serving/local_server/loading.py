"""Load a version and replay its warm-up requests before it takes requests, as TF Serving does.

The requests are those of ``assets.extra/tf_serving_warmup_requests``.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from noisy_gru.data.reading.tables import Source
from noisy_gru.data.reading.tfrecords import read_frames
from noisy_gru.schema.errors import DataError, ModelError
from noisy_gru.serving.local_server.errors import RequestError, invalid, not_found, without_folders
from noisy_gru.serving.local_server.limits import Limits
from noisy_gru.serving.local_server.loaded_version import LoadedVersion, answer_predict

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MOST_RECORDS = 1000


def load_version(name: str, version: int, folder: Path, limits: Limits | None = None) -> LoadedVersion:
    """Load a version and warm it up.

    Raises:
        RequestError: there is no model in ``folder``, TensorFlow can't load it, or a warm-up request fails.
    """
    try:
        loaded = LoadedVersion(name, version, folder, limits)
    except ModelError as error:
        message = without_folders(str(error), folder, f"{name}/{version}")
        raise not_found(message) if not (folder / "saved_model.pb").is_file() else invalid(message) from error
    try:
        warm_up(loaded)
    except RequestError as error:
        loaded.close()
        raise RequestError(error.code, without_folders(error.message, folder, f"{name}/{version}")) from error
    return loaded


def warm_up(loaded: LoadedVersion) -> int:
    """Replay a version's warm-up requests.

    Returns:
        The number of requests; 0 if the version has none.

    Raises:
        RequestError: if the file can't be read, holds another kind of request or too many, or one of them fails.
    """
    file = loaded.folder / WARMUP_FILE
    if not file.is_file():
        return 0
    try:
        frames = list(islice(read_frames(Source(str(file), str(file), "tfrecord")), MOST_RECORDS + 1))
    except DataError as error:
        raise invalid(f"Warm-up of version {loaded.version} of {loaded.name}: {error}") from error
    if len(frames) > MOST_RECORDS:
        raise invalid(f"Number of warmup records exceeds the maximum ({MOST_RECORDS}) at {file}")
    for number, record in enumerate(frames, start=1):
        _replay(loaded, file, number, record)
    return len(frames)


def _replay(loaded: LoadedVersion, file: Path, number: int, record: bytes) -> None:
    where = f"Warm-up request {number} of {file}"
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        raise invalid(f"{where}: Failed to parse warmup record: {error}") from error
    kind = log.WhichOneof("log_type")
    if kind != "predict_log":
        raise invalid(f"{where}: Unsupported log_type for warmup: {kind}; expected predict_log.")
    try:
        answer_predict(loaded, log.predict_log.request)
    except RequestError as error:
        raise RequestError(error.code, f"{where} failed: {error.message}") from error
