"""TensorBoard's HParams plugin and Weights & Biases' own reader see what a run was, in environments of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.pipeline.config.tracking_config import TrackingConfig, WandbConfig
from noisy_gru.pipeline.runs.after_run import track_run
from noisy_gru.pipeline.tracking.tracking import track
from noisy_gru.pipeline.tracking.wandb_run import log_wandb_run
from noisy_gru.schema.errors import UserError
from tests.pipeline.tracking.tracked_run import CONFIG, run_of

SETTINGS = {
    **CONFIG,
    "seed": 0,
    "model": {"layers": [{"units": 8, "stddev": 0.0}], "bidirectional": False, "pooling": "last"},
    "training": {"epochs": 2, "early_stopping": None},
}
# What TensorBoard's server does for its HParams tab, and its reader of scalars.
READ_BOARD = """
import json, sys
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.plugins.hparams import backend_context, error, list_session_groups, api_pb2, metadata
from tensorboard.plugins import base_plugin
from tensorboard.context import RequestContext
multiplexer = EventMultiplexer().AddRunsFromDirectory(sys.argv[1])
multiplexer.Reload()
provider = MultiplexerDataProvider(multiplexer, sys.argv[1])
context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
ctx = RequestContext()
experiment = context.experiment_from_metadata(
    ctx, "", False, context.hparams_metadata(ctx, ""), context.hparams_from_data_provider(ctx, "", 100)
)
request = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=100, include_metrics=True)
request.allowed_statuses.extend([api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE])
handler = list_session_groups.Handler(ctx, context, "", request)
groups = handler.run().session_groups
print(json.dumps({
    "columns": {each.name: each.type for each in experiment.hparam_infos},
    "groups": [
        {
            "name": group.name,
            "hparams": {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()},
            "status": [session.status for session in group.sessions],
            "times": [[session.start_time_secs, session.end_time_secs] for session in group.sessions],
        }
        for group in groups
    ],
    "scalars": {
        run: {
            tag: [[event.step, event.tensor_proto.float_val[0]] for event in multiplexer.Tensors(run, tag)]
            for tag in multiplexer.PluginRunToTagToContent("scalars").get(run, {})
        }
        for run in multiplexer.Runs()
    },
}))
"""


def _interpreter(variable: str, library: str) -> str:
    program = os.environ.get(variable)
    if program is None:
        pytest.skip(f"needs {library} in another environment: `pip install {library}` there, {variable}=…/bin/python")
    return program


def _requested(program: str, code: str, *arguments: str) -> Any:
    done = subprocess.run([program, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_tensorboards_hparams_tab(tmp_path: Path) -> None:
    program = _interpreter("NOISY_GRU_TENSORBOARD", "tensorboard")
    folder = tmp_path / "board"
    places = TrackingConfig.model_validate({"tensorboard": {"folder": str(folder)}})
    directory, record = run_of(tmp_path / "root", config=SETTINGS)
    assert track(places, record, directory) == []
    assert track(places, record, directory) == [], "once more"
    later = {"run_id": "20260402-030000-000000", "status": "failed", "version": None, "artifacts": {}, "metrics": {}}
    directory, other = run_of(tmp_path / "root", config=SETTINGS | {"seed": 7}, **later)
    assert track(places, other, directory) == []
    found = _requested(program, READ_BOARD, str(folder))
    groups = {group["name"]: group for group in found["groups"]}
    assert groups.keys() == {record.run_id, other.run_id}
    values = {"seed": 0.0, "model.layers.0.units": 8.0, "model.layers.0.stddev": 0.0, "model.bidirectional": False}
    values |= {"model.pooling": "last", "training.epochs": 2.0}
    assert groups[record.run_id]["hparams"] == values, "zeros and False are values, too"
    assert groups[other.run_id]["hparams"] == values | {"seed": 7.0}
    assert (groups[record.run_id]["status"], groups[other.run_id]["status"]) == ([1], [2])
    ((began, ended),) = groups[record.run_id]["times"]
    assert ended - began == 90.0
    scalars = found["scalars"][record.run_id]
    assert scalars["training/loss"] == [[1, 1.5], [2, 0.75]]
    assert scalars["training/val_loss"] == [[1, 1.25]]
    assert scalars["test/accuracy"] == [[0, 0.875]]
    assert "test/pr_auc" not in scalars


def test_tensorboard_files_without_tensorboard(tmp_path: Path) -> None:
    directory, record = run_of(tmp_path, config=SETTINGS | {"tracking": {"tensorboard": {}}})
    assert track_run(directory, record, 300) is None
    (file,) = (tmp_path / "tensorboard" / record.run_id).iterdir()
    assert file.name.startswith("events.out.tfevents.")
    taken = tmp_path / "taken"
    taken.write_text("")
    (problem,) = track(TrackingConfig.model_validate({"tensorboard": {"folder": str(taken)}}), record, directory)
    assert problem.startswith("tracking.tensorboard.folder: ")


# The client's own reader of its files, which versions from 0.22 on have in Go alone.
READ_WANDB = """
import glob, json, sys
from wandb.proto import wandb_internal_pb2
from wandb.sdk.internal.datastore import DataStore
(file,) = glob.glob(sys.argv[1] + "/wandb/offline-run-*/run-*.wandb")
reader = DataStore()
reader.open_for_scan(file)
found = {"config": {}, "history": [], "summary": {}, "exit": None}
def items(updates):
    return {each.key or ".".join(each.nested_key): json.loads(each.value_json) for each in updates}
while (content := reader.scan_data()) is not None:
    record = wandb_internal_pb2.Record.FromString(content)
    kind = record.WhichOneof("record_type")
    if kind == "run":
        found["run"] = [record.run.run_id, record.run.project, record.run.display_name]
        found["config"] |= items(record.run.config.update)
    elif kind == "history":
        found["history"].append(items(record.history.item))
    elif kind == "summary":
        found["summary"] |= items(record.summary.update)
    elif kind == "exit":
        found["exit"] = record.exit.exit_code
print(json.dumps(found))
"""


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = _interpreter("NOISY_GRU_WANDB", "'wandb<0.22'")
    library = _requested(
        program, "import json, pathlib, wandb; print(json.dumps(str(pathlib.Path(wandb.__file__).parents[1])))"
    )
    # Behind this environment's own: only what is missing here comes from there.
    monkeypatch.setattr(sys, "path", [*sys.path, library])
    config = SETTINGS | {"tracking": {"wandb": {"project": "odd-project", "mode": "offline"}}}
    directory, record = run_of(tmp_path, config=config)
    directory.report_file(record.run_id).write_text("<p>report</p>")
    assert track_run(directory, record, 300) is None
    assert track_run(directory, record, 300) is None, "once more, and there is one run"
    found = _requested(program, READ_WANDB, str(tmp_path))
    assert found["run"] == [record.run_id, "odd-project", record.run_id]
    assert found["config"].items() >= {"model.layers.0.units": 8, "model.bidirectional": False, "seed": 0}.items()
    history = found["history"]
    assert [(each["epoch"], each["training/loss"]) for each in history] == [(1, 1.5), (2, 0.75)]
    assert history[0]["training/val_loss"] == 1.25
    expected = {"test/accuracy": 0.875, "baseline/accuracy": 0.5, "seconds/Trainer": 60.25, "status": "succeeded"}
    assert found["summary"].items() >= {**expected, "version": 4}.items()
    assert "test/pr_auc" not in found["summary"]
    (report,) = (tmp_path / "wandb").glob("offline-run-*/files/media/html/*.html")
    assert report.read_text() == "<p>report</p>"
    assert found["exit"] == 0


def test_wandb_online_needs_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    directory, record = run_of(tmp_path)
    with pytest.raises(UserError, match="expected the API key in the environment variable WANDB_API_KEY"):
        log_wandb_run(WandbConfig(project="p"), record, directory)
