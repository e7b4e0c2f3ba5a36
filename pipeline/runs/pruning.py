"""Deletes what old runs left, as the configuration says; never what a kept run or a published version needs.

    >>> prune(RunDirectory(Path("runs/vowels")), KeepConfig(runs=30), now=datetime.now(UTC)).bytes  # doctest: +SKIP
    1843204312

ML Metadata is told first: from then on TFX doesn't take the artifact from its cache, whatever becomes of the deleting,
and what a kill leaves undone is finished by the next pruning. Accounts are never deleted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from pydantic import ValidationError

from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.config.retraining_config import KeepConfig
from noisy_gru.pipeline.runs.run_directory import RunDirectory, RunRecord, timestamp
from noisy_gru.registry.published_versions import (
    WITHDRAWN,
    Publication,
    published_versions,
    read_publication,
    withdrawn_versions,
)
from noisy_gru.schema.errors import UserError

# Generated code, of which type checkers see nothing.
_mlmd: Any = metadata_store_pb2
_RUN_CONTEXT = "pipeline_run"
_OUTPUT = ("OUTPUT", "PENDING_OUTPUT", "DECLARED_OUTPUT")
Place = tuple[str, ...]


@dataclass(frozen=True)
class Pruned:
    """What was deleted, or would be.

    Attributes:
        runs: ids of the runs whose artifacts go.
        kept: each kept run's id, and why.
        paths: the folders and files, below the root.
        bytes: that they hold.
        shared: folders of those runs that stay, because another run used them or a version was made from them.
        dry_run: whether nothing was done.
    """

    runs: list[str]
    kept: dict[str, str]
    paths: list[str] = field(default_factory=list)
    bytes: int = 0
    shared: list[str] = field(default_factory=list)
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As ``runs prune --json`` prints it."""
        return asdict(self)


def prune(
    directory: RunDirectory,
    keep: KeepConfig,
    *,
    now: datetime,
    connection: Any = None,
    dry_run: bool = False,
    held: bool = False,
    serving_dirs: Iterable[Path] = (),
) -> Pruned:
    """Deletes the artifacts, leftovers and logs of runs that ``keep`` doesn't keep.

    Kept besides: the newest run, runs that go on, runs whose version is in place or withdrawn, and every artifact that
    any other run used. What belongs to no record is left alone.

    Args:
        directory: the root.
        keep: the rules.
        now: the time.
        connection: of ML Metadata (``ConnectionConfig``); None: the SQLite file under the root.
        dry_run: whether to say what would be deleted, and change nothing.
        held: whether the caller holds the root's lock.
        serving_dirs: folders with published models, besides the one under the root.

    Raises:
        UserError: a run goes on under this root, or a record or a version's record can't be read.
    """
    with nullcontext() if dry_run or held else directory.locked("pruning"):
        records = directory.records()
        publications = [each for folder in (directory.serving, *serving_dirs) for each in _publications(folder)]
        kept = _kept(records, keep, now, publications)
        old = [record for record in records if record.run_id not in kept and record.pruned is None]
        if not old:
            return Pruned([], kept, dry_run=dry_run)
        if connection is None and directory.metadata.is_file():
            connection = _mlmd.ConnectionConfig()
            connection.sqlite.filename_uri = str(directory.metadata)
        # Also those that were pruned before: what they shared with a run may go with that one.
        ids = {record.run_id for record in records} - set(kept)
        needed = {_place(uri) for publication in publications for uri in _origins(publication)}
        needed |= {
            _place(uri)
            for record in records
            if record.run_id in kept
            for outputs in record.artifacts.values()
            for uris in outputs.values()
            for uri in uris
        }
        found = _Leftovers()
        if connection is not None:
            _find_artifacts(MetadataStore(connection), directory, ids, needed, found, dry_run)
        first_kept = min((record.started for record in records if record.run_id in kept), default=timestamp(now))
        first_kept = min(first_kept, timestamp(now))
        _find_others(directory, old, first_kept, found)
        size = sum(_size(path) for path in found.paths)
        if not dry_run:
            for path in found.paths:
                _delete(path)
            for record in old:
                directory.write(record.model_copy(update={"pruned": timestamp(now)}))
        paths, shared = (
            [path.relative_to(directory.root).as_posix() for path in each] for each in (found.paths, found.shared)
        )
        return Pruned([record.run_id for record in old], kept, paths, size, shared, dry_run)


def prune_as_configured(
    config: PipelineConfig, directory: RunDirectory, *, now: datetime, dry_run: bool = False, held: bool = False
) -> Pruned:
    """``prune`` with the rules, and ML Metadata's place, of a configuration."""
    connection = None
    if config.metadata.host is not None:
        from noisy_gru.pipeline.runs.local_runner import connection_config

        connection = connection_config(config.metadata, directory.metadata)
    return prune(directory, config.retraining.keep, now=now, connection=connection, dry_run=dry_run, held=held)


def newest_config(directory: RunDirectory) -> PipelineConfig:
    """The configuration of the newest run under a root.

    Raises:
        UserError: there is none, or it isn't one of this version of noisy-gru.
    """
    record = directory.record("latest")
    try:
        return PipelineConfig.model_validate(record.config)
    except ValidationError as error:
        raise UserError(
            f"run {record.run_id}: its configuration isn't one of this version of noisy-gru; name the YAML file, "
            "noisy-gru runs prune CONFIG"
        ) from error


@dataclass
class _Leftovers:
    paths: list[Path] = field(default_factory=list)
    shared: list[Path] = field(default_factory=list)


def _kept(records: list[RunRecord], keep: KeepConfig, now: datetime, publications: list[Publication]) -> dict[str, str]:
    """Which runs are kept, and why, oldest first."""
    versions = {each.lineage.get("run"): each.version for each in publications}
    since = timestamp(now - timedelta(days=keep.days)) if keep.days is not None else None
    kept = {}
    began = timestamp(now)
    for age, record in enumerate(reversed(records)):
        # A run from the future, under a clock that was ahead, began before the one after it.
        began = record.started if record.started <= timestamp(now) else began
        if record.status == "running":
            kept[record.run_id] = "goes on"
        elif record.run_id in versions:
            kept[record.run_id] = f"version {versions[record.run_id]} is from it"
        elif age == 0:
            kept[record.run_id] = "the newest"
        elif keep.runs is None and since is None:
            kept[record.run_id] = "all are kept"
        elif keep.runs is not None and age < keep.runs:
            kept[record.run_id] = f"one of the newest {keep.runs}"
        elif since is not None and began >= since:
            kept[record.run_id] = f"not older than {keep.days:g} days"
    return dict(reversed(kept.items()))


def _publications(serving_dir: Path) -> list[Publication]:
    """The records of all versions in place, and of those that can be restored."""
    models = sorted(child for child in serving_dir.iterdir() if child.is_dir()) if serving_dir.is_dir() else []
    return [
        read_publication(folder)
        for model in models
        for folder in [
            *(model / str(version) for version in published_versions(model)),
            *(model / f"{WITHDRAWN}{version}" for version in withdrawn_versions(model)),
        ]
    ]


def _origins(publication: Publication) -> list[str]:
    return [publication.model_uri, *(value for value in publication.lineage.values() if "/" in value)]


def _place(uri: str) -> Place:
    """Step, output and execution of an artifact: the same after a root was moved."""
    parts = Path(uri).parts
    end = next((index for index in range(len(parts), 0, -1) if parts[index - 1].isdigit()), len(parts))
    return parts[max(0, end - 3) : end]


def _find_artifacts(
    store: MetadataStore, directory: RunDirectory, ids: set[str], needed: set[Place], found: _Leftovers, dry_run: bool
) -> None:
    """The folders of old runs' executions; their artifacts in ML Metadata become DELETED."""
    executions = {
        execution.id: context.name in ids
        for context in store.get_contexts_by_type(_RUN_CONTEXT)
        for execution in store.get_executions_by_context(context.id)
    }
    events = store.get_events_by_execution_ids(list(executions)) if executions else []
    used = {event.artifact_id for event in events if not executions[event.execution_id]}
    made = {
        event.artifact_id
        for event in events
        if executions[event.execution_id] and _mlmd.Event.Type.Name(event.type) in _OUTPUT
    }
    artifacts = store.get_artifacts_by_id(sorted(used | made)) if used | made else []
    needed = needed | {_place(artifact.uri) for artifact in artifacts if artifact.id in used}
    gone = [
        artifact
        for artifact in artifacts
        if artifact.id not in used and artifact.state != _mlmd.Artifact.DELETED and _place(artifact.uri) not in needed
    ]
    for artifact in gone:
        artifact.state = _mlmd.Artifact.DELETED
    if gone and not dry_run:
        store.put_artifacts(gone)
    # By execution and not by artifact: what a failed or killed one left has no artifact.
    for folder in sorted(directory.artifacts.glob("*/*/*")):
        if folder.name.isdigit() and executions.get(int(folder.name)):
            (found.shared if _place(str(folder)) in needed else found.paths).append(folder)
    for folder in sorted(directory.artifacts.glob("*/.system/executor_execution/*")):
        if folder.name.isdigit() and executions.get(int(folder.name)):
            found.paths.append(folder)


def _find_others(directory: RunDirectory, old: list[RunRecord], first_kept: str, found: _Leftovers) -> None:
    """Logs of old runs, and what was last touched before the first kept run began: drivers' and trainings' folders."""
    found.paths += [path for record in old if (path := directory.log_file(record.run_id)).is_file()]
    begun = datetime.fromisoformat(first_kept).astimezone(UTC).timestamp()
    patterns = (
        (directory.artifacts, "*/.system/driver_execution/*"),
        (directory.artifacts, "*/.system/stateful_working_dir/*"),
        (directory.work, "training-*"),
    )
    for folder, pattern in patterns:
        found.paths += sorted(path for path in folder.glob(pattern) if _touched(path) < begun)


def _touched(path: Path) -> float:
    return max(each.stat().st_mtime for each in [path, *path.rglob("*")])


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
