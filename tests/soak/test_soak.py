"""A pipeline that is left alone for a year (``make soak``) or some days (the suite), with all that can go wrong."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.runs.lineage import publishing_run, trace
from noisy_gru.pipeline.runs.run_directory import RunRecord
from noisy_gru.registry.history import read_history
from noisy_gru.registry.published_versions import (
    WITHDRAWN,
    published_versions,
    read_publication,
    withdrawn_versions,
)
from noisy_gru.registry.retraining_attempts import outcomes, read_attempts
from noisy_gru.registry.training_record import read_training_record
from tests.soak.expectations import GOOD, POOR, SHORT, YEAR, Day, days
from tests.soak.simulation import MODEL, Seen, Simulation

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

BOUNDS = {"": lambda accuracy: accuracy is None, "good": lambda accuracy: accuracy >= GOOD}
BOUNDS["poor"] = lambda accuracy: accuracy <= POOR
# What the error of a night says, by what is wrong with the span that came.
WORDS = {
    "corrupt": ("span {}", "of its 720 rows (20.0%) can't be read"),
    "empty": ("span {} is empty", "holds no rows"),
    "column": ("spans/{}/v1/rows.csv", "expected the column trend"),
    "site": ("site", "west"),
}


@dataclass
class Life:
    """What was simulated."""

    simulation: Simulation
    days: list[Day]
    seen: list[Seen]
    bytes: list[int]

    @property
    def run_records(self) -> list[RunRecord]:
        return self.simulation.directory.records()


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Life]:
    """All days are lived through before anything is asserted, so that a failure shows what came of it."""
    lived = days(YEAR if pytestconfig.getoption("--year", False) else SHORT)
    with Simulation(tmp_path_factory.mktemp("life")) as simulation:
        life = Life(simulation, lived, [], [])
        for day in lived:
            begun = time.monotonic()
            seen = simulation.live(day)
            life.seen.append(seen)
            life.bytes.append(_size(simulation))
            told = f"day {day.number}: {seen.done.outcome} ({','.join(seen.met) or '-'}), {seen.was} -> {seen.becomes}"
            size = f"{life.bytes[-1] / 1e6:.1f} MB, {time.monotonic() - begun:.0f} s"
            print(f"{told}, versions {list(seen.after)}, {size}", file=sys.__stderr__, flush=True)
        yield life


def each(life: Life) -> Iterator[tuple[Day, Seen]]:
    return zip(life.days, life.seen, strict=True)


def account_of(seen: Seen) -> RunRecord:
    """Of the run that the day ended with."""
    assert seen.done.record is not None
    return seen.done.record


def _size(simulation: Simulation) -> int:
    """Of what is pruned; the records and ML Metadata, some KB of each run, are there for ever."""
    directory = simulation.directory
    folders = (directory.artifacts, directory.serving, directory.logs, directory.work)
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def test_every_day_was_decided_as_the_rules_say(life):
    planned = {day.number: seen.met if seen.done.plan is not None else None for day, seen in each(life)}
    assert planned == {day.number: day.met for day in life.days}


def test_every_day_ended_as_it_should(life):
    assert {day.number: (seen.done.outcome, seen.done.error) for day, seen in each(life) if not _wrong(day)} == {
        day.number: (day.outcome, None) for day in life.days if not _wrong(day)
    }
    for day, seen in each(life):
        if how := _wrong(day):
            assert seen.done.outcome == "failed", day
            told = seen.done.error or ""
            for word in WORDS[how]:
                assert word.format(day.arrives[-1].span) in told, (day, told)


def _wrong(day: Day) -> str:
    """What is wrong with the span of a day that has to fail."""
    return day.arrives[-1].how if day.outcome == "failed" else ""


def test_only_a_publication_changes_what_is_served_and_it_leaves_the_others_bit_for_bit(life):
    for day, seen in each(life):
        if day.outcome == "published":
            (new,) = set(seen.after) - set(seen.before)
            assert new == max(seen.after) == account_of(seen).version, day
            assert {version: digest for version, digest in seen.after.items() if version != new}.items() <= (
                seen.before.items()
            )
        else:
            assert seen.after == seen.before, day


def test_the_served_model_knows_the_world_after_every_night(life):
    for day, seen in each(life):
        assert BOUNDS[day.was](seen.was), (day, seen.was)
        assert BOUNDS[day.becomes](seen.becomes), (day, seen.becomes)


def test_a_refusal_names_metric_and_bound_and_is_on_record(life):
    refused = [account_of(seen) for day, seen in each(life) if day.outcome == "refused"]
    assert refused
    for run_record in refused:
        (refusal, *_) = run_record.refusals
        assert "accuracy" in refusal
        assert run_record.metrics["accuracy"] < 0.8
        assert run_record.version is None


def test_a_refused_night_is_not_repeated_before_there_is_other_data(life):
    """The calls of the rules are met, and one brake holds."""
    held = [seen for day, seen in each(life) if day.met and day.outcome == "not due"]
    assert held
    for seen in held:
        reasons = (seen.done.plan or {}).get("reasons", ())
        assert [reason["rule"] for reason in reasons if reason["kind"] == "brake" and reason["met"]] == [
            "after_refusal"
        ]


def test_a_killed_night_is_gone_on_with(life):
    killed = [(day, seen) for day, seen in each(life) if day.dies]
    assert {day.dies for day, _ in killed} == {day.dies for day in life.days if day.dies} >= {"trainer", "publishing"}
    run_records = {run_record.run_id: run_record for run_record in life.run_records}
    keep = load_config(life.simulation.config).serving.versions.keep or 0
    for day, seen in killed:
        victim, heir = run_records[seen.done.resumes or ""], account_of(seen)
        ended = (130, "interrupted") if day.dies == "asked" else (-signal.SIGKILL, "killed")
        assert (seen.died, victim.status) == ended, day
        assert victim.steps[-1].name == ("Pusher" if day.dies == "publishing" else "Trainer")
        assert [span["span"] for span in victim.spans] == [span["span"] for span in heir.spans]
        done = {step.name: step.status for step in heir.steps}
        assert done["SequenceExampleGen"] == done["Transform"] == "cached", day
        if day.dies == "publishing":
            # It had its name already, whole: the heir finds it, publishes nothing twice, and removes what the new one
            # is one too many for, which the victim didn't come to.
            assert seen.after == {version: seen.at_death[version] for version in sorted(seen.at_death)[-keep:]}, day
            assert done["Trainer"] == "cached"
        else:
            assert seen.at_death == seen.before, day
            assert seen.went_on


def test_every_run_and_every_attempt_has_an_end(life):
    by_run = {run_record.run_id: run_record for run_record in life.run_records}
    ends = {"succeeded": "published", "refused": "refused", "failed": "failed", "killed": "failed"}
    ends["interrupted"] = "interrupted"
    attempts = outcomes(read_attempts(life.simulation.model_dir))
    assert {attempt.run_id: attempt.event for attempt in attempts} == {
        run_id: ends[run_record.status] for run_id, run_record in by_run.items()
    }
    assert [attempt.ended for attempt in attempts if attempt.ended is None] == []
    nights = [seen.done.record.run_id for seen in life.seen if seen.done.record is not None]
    victims = [seen.done.resumes for seen in life.seen if seen.done.resumes is not None]
    assert sorted(nights + victims) == sorted(by_run)


def test_the_history_of_versions_is_complete(life):
    published = [account_of(seen).version for day, seen in each(life) if day.outcome == "published"]
    events = read_history(life.simulation.model_dir)
    assert [event.version for event in events if event.action == "publish"] == published
    kept = load_config(life.simulation.config).serving.versions.keep or 0
    withdrawn = withdrawn_versions(life.simulation.model_dir)
    assert [event.version for event in events if event.action == "rollback"] == withdrawn
    assert len(withdrawn) == len([day for day in life.days if day.happens == "rollback"])
    standing = [version for version in published if version not in withdrawn]
    assert published_versions(life.simulation.model_dir) == standing[-kept:]
    assert [event.version for event in events if event.action == "prune"] == standing[:-kept]


def test_nothing_is_left_behind(life):
    from ml_metadata.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2

    mlmd: Any = metadata_store_pb2
    directory = life.simulation.directory
    odd = [path.name for path in life.simulation.model_dir.iterdir()]
    assert not [name for name in odd if name.startswith(("incoming-", "removed-", ".partial", ".tmp"))], odd
    assert not list(directory.work.iterdir())
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(directory.metadata)
    executions = MetadataStore(connection).get_executions()
    states = {mlmd.Execution.State.Name(execution.last_known_state) for execution in executions}
    assert states <= {"COMPLETE", "CACHED", "CANCELED", "FAILED"}
    assert [run_record.status for run_record in life.run_records if run_record.status == "running"] == []


def test_pruning_keeps_what_is_needed_and_the_disk_does_not_fill(life):
    directory, model_dir = life.simulation.directory, life.simulation.model_dir
    config = load_config(life.simulation.config)
    versions = published_versions(model_dir)
    for version in versions:
        run_record = directory.run_record(publishing_run(model_dir / str(version)))
        found = trace(directory.serving, MODEL, version, run_record)
        assert (found.files_state, found.artifact[1]) == ({}, True), version
        assert len(found.spans) == len(found.files)
        assert {file.state for file in found.files} == {"same"}, version
        record = read_training_record(model_dir / str(version))
        assert record is not None
        assert record.keras_folder is not None
        assert record.values is not None
    run_records = life.run_records
    whole = {run_record.run_id for run_record in run_records if run_record.pruned is None}
    folders = [*map(str, versions), *(f"{WITHDRAWN}{version}" for version in withdrawn_versions(model_dir))]
    makers = {read_publication(model_dir / folder).lineage["run"] for folder in folders}
    # A failed night prunes nothing, so that at most the runs since the last one that ended well are there besides.
    newest = [run_record.run_id for run_record in run_records][-(config.retraining.keep.runs or 0) :]
    ended_well = max(i for i, run_record in enumerate(run_records) if run_record.status in ("succeeded", "refused"))
    since = {run_record.run_id for run_record in run_records[ended_well - 1 :]}
    assert makers <= whole
    assert whole <= makers | set(newest) | since
    assert [run_record.run_id for run_record in run_records if run_record.pruned is not None]
    most = len(folders) + (config.retraining.keep.runs or 0)
    assert max(life.bytes) < (most + 2) * life.bytes[0]
