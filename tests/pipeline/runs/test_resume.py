"""A run that is cut off at every component, one by one, ends with the model of a run that nothing disturbed."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.init.proposal import propose
from noisy_gru.pipeline.runs.replay import Replay, replay
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.pipeline.runs.running import run_config
from noisy_gru.schema.errors import UserError
from tests.preloaded import forkserver

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

STEPS = (
    *("ImportSchemaGen", "SequenceExampleGen", "StatisticsGen", "ExampleValidator", "AnomalyGate", "Transform"),
    *("Trainer", "LatestBlessed", "ServingGate", "Evaluator", "Pusher"),
)
TRAINING = STEPS[: STEPS.index("Trainer") + 1]
# Ends well, too, on a request instead of a kill.
STOPPED = "StatisticsGen"
# A tenth is the test split, of which the gate asks for 20.
PUMPS = 300
SMALL = (
    "training.epochs=6",
    "training.early_stopping.patience=50",
    "model={layers: [{units: 8, stddev: 0.1}]}",
    "serving.budgets.requests=10",
)


def pumps(folder: Path) -> PipelineConfig:
    """From a user's own file, through what ``noisy-gru init`` proposes."""
    random = np.random.default_rng(1)
    slopes = np.repeat(random.choice([-1.0, 1.0], PUMPS), 12)
    frame = pd.DataFrame(
        {
            "pump_run": np.repeat([f"p{index}" for index in range(PUMPS)], 12),
            "t": np.tile(np.arange(12), PUMPS),
            "pressure": slopes * np.tile(np.arange(12), PUMPS) + random.normal(0, 1, PUMPS * 12),
            "outcome": np.where(slopes > 0, "rises", "falls"),
        }
    )
    frame.to_csv(folder / "pumps.csv", index=False)
    out = folder / "pumps"
    proposal = propose(
        [str(folder / "pumps.csv")], out=out, task=None, entity=None, time=None, targets=[], name="pumps"
    )
    proposal.write(out, force=False)
    return load_config(out / "config.yaml", SMALL)


def account_of(directory: RunDirectory, process: int) -> RunRecord | None:
    return next((record for record in directory.records() if record.pid == process), None)


@dataclass
class Storm:
    """The root of a run that was cut off again and again, every attempt's record, and the undisturbed run."""

    directory: RunDirectory
    attempts: list[RunRecord]
    refused: list[str]
    calm: Replay


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    folder = tmp_path_factory.mktemp("storm")
    config, directory = pumps(folder), RunDirectory(folder / "root")
    context = forkserver()
    seeded = random.Random(7)
    attempts, refused = [], []
    options: dict[str, Any] = {"config_path": folder / "pumps" / "config.yaml", "root": directory.root}

    def has_reached(step: str, run: int) -> bool:
        record = account_of(directory, run)
        if record is None:
            return False
        if step == "Trainer":
            return any(directory.work.glob("training-*/state.npz"))
        return step in [each.name for each in record.steps]

    for step in STEPS:
        run = context.Process(target=run_config, args=(config,), kwargs=options)
        run.start()
        assert run.pid is not None
        deadline = time.monotonic() + 600
        while not has_reached(step, run.pid):
            # It may have reached it, and ended, since it was looked at.
            assert run.is_alive() or has_reached(step, run.pid), account_of(directory, run.pid)
            assert time.monotonic() < deadline, account_of(directory, run.pid)
            time.sleep(0.02)
        time.sleep(seeded.uniform(0, 1.5 if step in ("Transform", "Evaluator", "ServingGate") else 0.1))
        if step == STOPPED:
            with pytest.raises(UserError, match="in use by process") as busy:
                run_config(config, **options)
            refused.append(str(busy.value))
            run.terminate()
        else:
            run.kill()
        run.join()
        record = account_of(directory, run.pid)
        assert record is not None
        attempts.append(record)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        attempts.append(pool.submit(run_config, config, **options).result())
        calm = pool.submit(replay, attempts[-1], into=folder / "calm").result()
    yield Storm(directory, attempts, refused, calm)


def weights(version: Path) -> list[tuple[Any, ...]]:
    """All variables of a SavedModel; their order in the file is not always the same."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    values = [np.asarray(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map() if "VARIABLE" in name]
    return sorted((value.shape, value.tobytes()) for value in values)


def test_every_cut_is_on_record_and_the_last_attempt_ends_well(storm):
    *cut_off, last = storm.attempts
    assert [record.status for record in cut_off if record.status not in ("killed", "succeeded")] == ["interrupted"]
    assert cut_off[STEPS.index(STOPPED)].status == "interrupted"
    # The last, or the one before it on a machine under load, may have just ended.
    assert [record.status for record in cut_off].count("killed") >= len(STEPS) - 3
    assert (last.status, last.error) == ("succeeded", None)
    assert [step.name for step in last.steps] == list(STEPS)
    assert storm.refused
    assert [record.status for record in storm.directory.records()] == [each.status for each in storm.attempts]


def test_what_was_finished_is_not_done_again(storm):
    pairs = list(zip(storm.attempts, storm.attempts[1:], strict=False))
    done = [
        (step.name, {each.name: each.status for each in after.steps}[step.name])
        for before, after in pairs
        for step in before.steps
        if step.name in TRAINING and step.status in ("complete", "cached")
    ]
    assert {status for _, status in done} == {"cached"}
    assert {name for name, _ in done} == set(TRAINING)
    assert "resuming after epoch" in "".join(Path(each.log).read_text(errors="replace") for each in storm.attempts)


def test_half_written_artifacts_are_gone_and_never_used(storm):
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2

    mlmd: Any = metadata_store_pb2
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(storm.directory.metadata)
    store = MetadataStore(connection)
    states = {mlmd.Execution.State.Name(each.last_known_state) for each in store.get_executions()}
    assert states == {"COMPLETE", "CACHED", "CANCELED"}
    finished = {artifact.uri for artifact in store.get_artifacts()}
    folders = {str(path) for path in storm.directory.artifacts.glob("*/*/*") if path.name.isdigit()}
    assert folders == finished
    used = {uri for outputs in storm.attempts[-1].artifacts.values() for uris in outputs.values() for uri in uris}
    assert used <= finished
    assert not list(storm.directory.work.iterdir())


def test_the_model_is_that_of_a_run_that_nothing_disturbed(storm):
    served = storm.directory.serving / "pumps"
    versions = sorted(path.name for path in served.glob("[0-9]*"))
    assert versions == [str(storm.attempts[-1].version)]
    assert not [path.name for path in served.iterdir() if path.name.startswith(("incoming-", "removed-", ".partial"))]
    (calm,) = RunDirectory(Path(storm.calm.root)).records()
    assert calm.published_path is not None
    mine, undisturbed = weights(served / versions[0]), weights(Path(calm.published_path))
    assert len(mine) == 5  # kernel, recurrent kernel and bias of one layer; kernel and bias of the head
    assert mine == undisturbed


def test_a_replay_says_that_the_metrics_agree(storm):
    found, last = storm.calm, storm.attempts[-1]
    assert found.verdict in ("exact", "within")
    assert {number.name: number.first for number in found.metrics} == last.metrics
    assert (found.before, found.error) == ([], None)
    (calm,) = RunDirectory(Path(found.root)).records()
    assert (calm.run_id, calm.replay_of) == (found.replay_id, last.run_id)
    assert {step.status for step in calm.steps} == {"complete"}
