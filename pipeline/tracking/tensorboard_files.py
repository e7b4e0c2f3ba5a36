"""Event files of a run for TensorBoard: the training by epoch, the evaluation, and the settings for its HParams tab.

`tensorboard --logdir ROOT/tensorboard` compares all runs of a root. A run that is written again replaces its files. The
messages are declared here, as those of the tensorflow wheel import all of TensorFlow (tensorflow/core/util/event.proto,
tensorboard/plugins/hparams/plugin_data.proto).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from noisy_gru.data.sequences.shards import frame_record
from noisy_gru.pipeline.config.tracking_config import TensorBoardConfig
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.pipeline.tracking.run_values import history_of, results_of, settings_of
from noisy_gru.saved_model.message_classes import message_classes
from noisy_gru.schema.errors import UserError

FOLDER = "tensorboard"
# What is tried out between runs; the rest is the same in all of them.
_SECTIONS = ("model", "training", "tuner", "seed")
_START, _END = "_hparams_/session_start_info", "_hparams_/session_end_info"
# tensorboard/plugins/hparams/api.proto: Status.
_SUCCESS, _FAILURE = 1, 2
_FLOAT = 1
_MESSAGES = message_classes(
    "noisy_gru.tensorboard",
    {
        "Event": {
            "wall_time": (1, "double", False),
            "step": (2, "int64", False),
            "file_version": (3, "string", False),
            "summary": (5, "Summary", False),
        },
        "Summary": {"value": (1, "SummaryValue", True)},
        "SummaryValue": {
            "tag": (1, "string", False),
            "tensor": (8, "Tensor", False),
            "metadata": (9, "Metadata", False),
        },
        "Tensor": {"dtype": (1, "int32", False), "shape": (2, "Shape", False), "float_val": (5, "float", True)},
        "Shape": {"dim": (2, "Dim", True)},
        "Dim": {"size": (1, "int64", False)},
        "Metadata": {"plugin_data": (1, "PluginData", False), "data_class": (4, "int32", False)},
        "PluginData": {"plugin_name": (1, "string", False), "content": (2, "bytes", False)},
        "HParams": {
            "version": (1, "int32", False),
            "session_start_info": (3, "Start", False),
            "session_end_info": (4, "End", False),
        },
        "Start": {
            "hparams": (1, "map:Value", True),
            "group_name": (4, "string", False),
            "start_time_secs": (5, "double", False),
        },
        "End": {"status": (1, "int32", False), "end_time_secs": (2, "double", False)},
        # google.protobuf.Value
        "Value": {
            "number_value": (2, "double", False),
            "string_value": (3, "string", False),
            "bool_value": (4, "bool", False),
        },
    },
    oneofs=("Value",),
)
# tensorboard/compat/proto/summary.proto: DATA_CLASS_SCALAR.
_SCALAR = 1


def write_events(config: TensorBoardConfig, record: RunRecord, directory: RunDirectory) -> Path:
    """Write the event file of a run that has ended; return it.

    Args:
        config: where to.
        record: of the run.
        directory: root of the run.

    Raises:
        UserError: the folder can't be written.
    """
    base = Path(config.folder) if config.folder is not None else directory.root / FOLDER
    began = datetime.fromisoformat(record.started).timestamp()
    # The name follows from the run: what is written again replaces it.
    file = base / record.run_id / f"events.out.tfevents.{int(began)}.{record.host or 'host'}"
    content = b"".join(frame_record(each.SerializeToString()) for each in _events(record, directory, began))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        part.write_bytes(content)
        part.replace(file)
    except OSError as error:
        raise UserError(f"tracking.tensorboard.folder: {file} can't be written: {error.strerror or error}") from error
    return file


def _events(record: RunRecord, directory: RunDirectory, began: float) -> Iterator[Any]:
    event = _MESSAGES["Event"]
    ended = datetime.fromisoformat(record.finished or record.started).timestamp()
    yield event(wall_time=began, file_version="brain.Event:2")
    start = _MESSAGES["Start"](group_name=record.run_id, start_time_secs=began)
    for name, value in settings_of(record.config):
        if name.partition(".")[0] in _SECTIONS:
            field = {bool: "bool_value", int: "number_value", float: "number_value"}.get(type(value), "string_value")
            setattr(start.hparams[name], field, value if field != "string_value" else str(value))
    yield event(wall_time=began, summary=_plugin(_START, session_start_info=start))
    for name, value, epoch in history_of(record, directory):
        yield event(wall_time=began, step=epoch, summary=_number(name, value))
    for name, value in results_of(record).items():
        yield event(wall_time=ended, summary=_number(name, value))
    status = _SUCCESS if record.status in ("succeeded", "refused") else _FAILURE
    end = _MESSAGES["End"](status=status, end_time_secs=ended)
    yield event(wall_time=ended, summary=_plugin(_END, session_end_info=end))


def _plugin(tag: str, **content: Any) -> Any:
    data = _MESSAGES["HParams"](**content).SerializeToString()
    metadata = _MESSAGES["Metadata"](plugin_data=_MESSAGES["PluginData"](plugin_name="hparams", content=data))
    # No values, but TensorBoard wants a tensor.
    shape = _MESSAGES["Shape"](dim=[_MESSAGES["Dim"](size=0)])
    tensor = _MESSAGES["Tensor"](dtype=_FLOAT, shape=shape)
    return _MESSAGES["Summary"](value=[_MESSAGES["SummaryValue"](tag=tag, tensor=tensor, metadata=metadata)])


def _number(tag: str, value: float) -> Any:
    metadata = _MESSAGES["Metadata"](plugin_data=_MESSAGES["PluginData"](plugin_name="scalars"), data_class=_SCALAR)
    tensor = _MESSAGES["Tensor"](dtype=_FLOAT, float_val=[value])
    return _MESSAGES["Summary"](value=[_MESSAGES["SummaryValue"](tag=tag, tensor=tensor, metadata=metadata)])
