"""Delete artifacts and logs of old runs, but nothing that a kept run or a published version needs.

    >>> rules = {"vowels": KeepConfig(runs=30)}
    >>> prune(RunDirectory(Path("runs/vowels")), rules, now=datetime.now(UTC)).bytes  # doctest: +SKIP
    1843204312

Artifacts are first marked as deleted in ML Metadata: from then on TFX doesn't take them from its cache, even if a kill
interrupts the deletion, which the next pruning completes. Run records are never deleted.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
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
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord, timestamp
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
    """The result of a pruning, or of a dry run.

    Attributes:
        runs: ids of the pruned runs.
        kept: why each kept run is kept, by id.
        paths: deleted folders and files, relative to the root.
        bytes: their size.
        shared: folders of pruned runs that were kept, because another run or a version needs them.
        dry_run: whether nothing was deleted.
    """

    runs: list[str]
    kept: dict[str, str]
    paths: list[str] = field(default_factory=list)
    bytes: int = 0
    shared: list[str] = field(default_factory=list)
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``runs prune --json`` prints."""
        return asdict(self)


def prune(
    directory: RunDirectory,
    keep: Mapping[str, KeepConfig],
    *,
    now: datetime,
    connection: Any = None,
    dry_run: bool = False,
    held: bool = False,
    serving_dirs: Iterable[Path] = (),
) -> Pruned:
    """Delete the artifacts, working folders and logs of runs that the rules of their pipeline don't keep.

    Also kept: the newest run of each pipeline, all runs of pipelines without rules, running ones, runs whose version
    is published or withdrawn, every artifact that another run used, and files of no recorded run.

    Args:
        directory: root of the runs.
        keep: rules by the name of the pipeline.
        now: current time.
        connection: connection of ML Metadata (``ConnectionConfig``); None: the SQLite file under the root.
        dry_run: whether to return what would be deleted, and change nothing.
        held: whether the caller holds the root's lock.
        serving_dirs: folders with published models, besides the one under the root.

    Raises:
        UserError: a run is in progress under this root, or a run's or version's record can't be read.
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
        # Also runs pruned before: artifacts that they shared with a run may be deleted with that one.
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
        leftovers = _Leftovers()
        if connection is not None:
            _find_artifacts(MetadataStore(connection), directory, ids, needed, leftovers, dry_run)
        first_kept = min((record.started for record in records if record.run_id in kept), default=timestamp(now))
        first_kept = min(first_kept, timestamp(now))
        _find_others(directory, old, first_kept, leftovers)
        size = sum(_size(path) for path in leftovers.paths)
        if not dry_run:
            for path in leftovers.paths:
                _delete(path)
            for record in old:
                directory.write(record.model_copy(update={"pruned": timestamp(now)}))
        paths, shared = (
            [path.relative_to(directory.root).as_posix() for path in each]
            for each in (leftovers.paths, leftovers.shared)
        )
        return Pruned([record.run_id for record in old], kept, paths, size, shared, dry_run)


def prune_as_configured(
    configs: Iterable[PipelineConfig],
    directory: RunDirectory,
    *,
    now: datetime,
    dry_run: bool = False,
    held: bool = False,
) -> Pruned:
    """Call ``prune`` with the rules of pipelines that share a root, and the ML Metadata of the first."""
    configs = list(configs)
    connection = None
    if configs and configs[0].metadata.host is not None:
        from noisy_gru.pipeline.runs.local_runner import connection_config

        connection = connection_config(configs[0].metadata, directory.metadata)
    keep = {config.name: config.retraining.keep for config in configs}
    return prune(directory, keep, now=now, connection=connection, dry_run=dry_run, held=held)


def newest_configs(directory: RunDirectory) -> list[PipelineConfig]:
    """Return the configuration of each pipeline's newest run under a root, that of the newest run first.

    Raises:
        UserError: there is no run, or a configuration is of another version of noisy-gru.
    """
    directory.record("latest")
    newest = {record.pipeline: record for record in directory.records()}
    configs = []
    for record in sorted(newest.values(), key=lambda record: record.run_id, reverse=True):
        try:
            configs.append(PipelineConfig.model_validate(record.config))
        except ValidationError as error:
            raise UserError(
                f"run {record.run_id} of pipeline {record.pipeline}: its configuration is of another version of "
                "noisy-gru. Give the configuration file: noisy-gru runs prune CONFIG"
            ) from error
    return configs


@dataclass
class _Leftovers:
    paths: list[Path] = field(default_factory=list)
    shared: list[Path] = field(default_factory=list)


def _kept(
    records: list[RunRecord], keep: Mapping[str, KeepConfig], now: datetime, publications: list[Publication]
) -> dict[str, str]:
    """Return why each kept run is kept, oldest first."""
    versions = {each.lineage.get("run"): each.version for each in publications}
    kept = {}
    began = timestamp(now)
    newer: Counter[str] = Counter()
    for record in reversed(records):
        # A run dated in the future, by a clock that was ahead, began before the run after it.
        began = record.started if record.started <= timestamp(now) else began
        age = newer[record.pipeline]
        newer[record.pipeline] += 1
        if record.status == "running":
            kept[record.run_id] = "still running"
        elif record.run_id in versions:
            kept[record.run_id] = f"its version {versions[record.run_id]} is published or withdrawn"
        elif age == 0:
            kept[record.run_id] = "newest run"
        elif (reason := _rule_that_keeps(keep.get(record.pipeline), age, began, now)) is not None:
            kept[record.run_id] = reason
    return dict(reversed(kept.items()))


def _rule_that_keeps(rules: KeepConfig | None, age: int, began: str, now: datetime) -> str | None:
    """Return why the rules of its pipeline keep a run, which has ``age`` newer ones."""
    if rules is None:
        return "the rules of another pipeline don't apply to it"
    if rules.runs is None and rules.days is None:
        return "retraining.keep keeps all runs"
    if rules.runs is not None and age < rules.runs:
        return f"one of the newest {rules.runs}"
    if rules.days is not None and began >= timestamp(now - timedelta(days=rules.days)):
        return f"not older than {rules.days:g} days"
    return None


def _publications(serving_dir: Path) -> list[Publication]:
    """Return the records of all published versions and of withdrawn ones, which can be restored."""
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
    """Return step, output and execution of an artifact, which don't change if the root is moved."""
    parts = Path(uri).parts
    end = next((index for index in range(len(parts), 0, -1) if parts[index - 1].isdigit()), len(parts))
    return parts[max(0, end - 3) : end]


def _find_artifacts(
    store: MetadataStore,
    directory: RunDirectory,
    ids: set[str],
    needed: set[Place],
    leftovers: _Leftovers,
    dry_run: bool,
) -> None:
    """Find the folders of old runs' executions, and mark their artifacts as DELETED in ML Metadata."""
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
    deleted = [
        artifact
        for artifact in artifacts
        if artifact.id not in used and artifact.state != _mlmd.Artifact.DELETED and _place(artifact.uri) not in needed
    ]
    for artifact in deleted:
        artifact.state = _mlmd.Artifact.DELETED
    if deleted and not dry_run:
        store.put_artifacts(deleted)
    # By execution, not by artifact: output of a failed or killed execution has no artifact.
    for folder in sorted(directory.artifacts.glob("*/*/*")):
        if folder.name.isdigit() and executions.get(int(folder.name)):
            (leftovers.shared if _place(str(folder)) in needed else leftovers.paths).append(folder)
    for folder in sorted(directory.artifacts.glob("*/.system/executor_execution/*")):
        if folder.name.isdigit() and executions.get(int(folder.name)):
            leftovers.paths.append(folder)


def _find_others(directory: RunDirectory, old: list[RunRecord], first_kept: str, leftovers: _Leftovers) -> None:
    """Find logs and reports of old runs; working folders and pages of held nights of before the first kept run."""
    files = [of(record.run_id) for record in old for of in (directory.log_file, directory.report_file)]
    leftovers.paths += [path for path in files if path.is_file()]
    begun = datetime.fromisoformat(first_kept).astimezone(UTC).timestamp()
    patterns = (
        (directory.artifacts, "*/.system/driver_execution/*"),
        (directory.artifacts, "*/.system/stateful_working_dir/*"),
        (directory.work, "training-*"),
        (directory.runs, "held-*.html"),
    )
    for folder, pattern in patterns:
        leftovers.paths += sorted(path for path in folder.glob(pattern) if _last_modified(path) < begun)


def _last_modified(path: Path) -> float:
    return max(each.stat().st_mtime for each in [path, *path.rglob("*")])


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
