"""Train a run again from the same data, seed and base model in a root of its own, and compare the metrics.

>>> replay(RunDirectory(root).record("latest"), into=Path("again")).verdict  # doctest: +SKIP
'exact'

Publishes nothing to the run's serving directory: the replay has one under its own root, with copies of the versions
that the run compared with and started from.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from noisy_gru.pipeline.config.pipeline_config import MetadataConfig, PipelineConfig
from noisy_gru.pipeline.fingerprint import package_versions, source_fingerprint
from noisy_gru.pipeline.runs.comparison import (
    Difference,
    Number,
    differences,
    environment_differences,
    file_hashes,
    numbers,
)
from noisy_gru.pipeline.runs.input_files import base_of, check_files
from noisy_gru.pipeline.runs.run_directory import RunDirectory, check_root
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.pipeline.runs.running import run_config
from noisy_gru.registry.published_versions import WITHDRAWN
from noisy_gru.schema.errors import ConfigError, UserError

# Beam's batches differ from run to run, and so do the last digits of metrics.
TOLERANCE = 1e-6
Verdict = Literal["exact", "within", "apart", "failed"]


@dataclass(frozen=True)
class Replay:
    """The result of a replay.

    Attributes:
        run_id: id of the original run.
        replay_id: id of the run that trained it again.
        root: root of the replay.
        verdict: `exact`: all metrics are equal to the last digit; `within`: equal within the tolerance; `apart`: not;
            `failed`: the replay has no metrics.
        tolerance: largest difference, relative to the larger value, that is `within`.
        metrics: metrics of both runs.
        before: packages, source and input files that differ.
        error: why the replay failed.
    """

    run_id: str
    replay_id: str
    root: str
    verdict: Verdict
    tolerance: float
    metrics: list[Number]
    before: list[Difference]
    error: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``runs replay --json`` prints."""
        return asdict(self)


def replay(
    record: RunRecord,
    *,
    into: Path,
    anyway: bool = False,
    tolerance: float = TOLERANCE,
    serving_dir: Path | None = None,
    debug: bool = False,
) -> Replay:
    """Train a run again.

    Args:
        record: record of the run.
        into: root of the replay, a new or empty folder.
        anyway: whether to replay even if input files, the schema or the base model are gone or changed.
        tolerance: largest relative difference of a metric that counts as equal.
        serving_dir: folder with the base model; None: serving/ under the run's root.
        debug: whether to print the traceback of an error.

    Raises:
        UserError: the run can't be trained again as it was and ``anyway`` is false; or ``into`` is not empty.
        ConfigError: the run's configuration is of another version of noisy-gru.
    """
    if into.exists() and any(into.iterdir()):
        raise UserError(f"--into {into}: expected a new or empty folder for the replay")
    check_root(into.absolute())
    original = RunDirectory(Path(record.root))
    try:
        config = PipelineConfig.model_validate(record.config)
    except ValidationError as error:
        raise ConfigError(
            f"run {record.run_id}: its configuration is of another version of noisy-gru: {error}. Replay it with "
            f"the version that it ran with ({record.packages.get('noisy-gru-tfx', 'unknown')})"
        ) from error
    schema, obstacles = _schema(record, original)
    files, changed = _changed_files(record)
    versions, missing = _published_then(record, config, serving_dir or original.serving)
    obstacles += [*changed, *missing]
    if obstacles and not anyway:
        lines = "\n".join(f"  - {each}" for each in obstacles)
        raise UserError(
            f"run {record.run_id} can't be trained again as it was:\n{lines}\nRestore these, or replay without them: "
            "--anyway"
        )
    # A metadata server knows the run's results, which TFX would take from its cache.
    again = config.model_copy(update={"schema_path": str(schema), "metadata": MetadataConfig()})
    for version, folder in versions.items():
        shutil.copytree(folder, RunDirectory(into).serving / config.model_name / str(version))

    def mark_as_replay(begun: RunRecord) -> None:
        begun.replay_of = record.run_id

    spans = [span["span"] for span in record.spans]
    done = run_config(
        again,
        config_path=Path(record.config_path),
        root=into,
        overrides=record.overrides,
        debug=debug,
        begun=mark_as_replay,
        span=str(max(spans)) if spans else "latest",
    )
    metrics = numbers(record.metrics, done.metrics)
    now = record.model_copy(update={"packages": package_versions(), "fingerprint": source_fingerprint()})
    before = environment_differences(record, now)
    # The files that were read, if known, rather than those on disk: an older span may have arrived since.
    before += differences(file_hashes(record), file_hashes(done)) if done.inputs else files
    return Replay(
        record.run_id, done.run_id, done.root, _verdict(metrics, tolerance), tolerance, metrics, before, done.error
    )


def _verdict(metrics: list[Number], tolerance: float) -> Verdict:
    if not any(number.second is not None for number in metrics):
        return "failed"
    if all(number.change == 0 for number in metrics):
        return "exact"
    return "within" if all(_is_close(number, tolerance) for number in metrics) else "apart"


def _is_close(number: Number, tolerance: float) -> bool:
    if number.first is None or number.second is None:
        return False
    return number.change == 0 or math.isclose(number.first, number.second, rel_tol=tolerance)


def _schema(record: RunRecord, original: RunDirectory) -> tuple[Path, list[str]]:
    """Return the schema of the run, and the obstacles: its copy is gone."""
    kept = [Path(record.schema_copy), original.inputs / Path(record.schema_copy).name] if record.schema_copy else []
    kept += [Path(uri) / "schema.pbtxt" for uri in record.artifacts.get("ImportSchemaGen", {}).get("schema", [])]
    for path in kept:
        if path.is_file():
            return path, []
    path = Path(record.config["schema"])
    gone = f"{kept[0] if kept else original.inputs}: the copy of the schema is gone"
    return path, [gone if path.is_file() else f"{gone}, and so is {path}"]


def _changed_files(record: RunRecord) -> tuple[list[Difference], list[str]]:
    """Return the input files that changed since, as differences and as messages."""
    if not record.inputs:
        return [], ["its record has no hashes of the input files, so changes can't be detected"]
    files = [file for file in check_files(record.inputs, base_of(record.config)) if file.state != "same"]
    messages = [
        f"{file.path or file.name}: {'not on this machine, so it was not checked' if there else file.state}"
        for file in files
        for there in [file.state == "unknown"]
        if not (there and file.path)
    ]
    return [Difference(file.name, file.sha256, file.state) for file in files], messages


def _published_then(record: RunRecord, config: PipelineConfig, serving_dir: Path) -> tuple[dict[int, Path], list[str]]:
    """Return the versions that the run compared with and started from, and the obstacles: a base model is gone."""
    compared = next((step.numbers.get("version") for step in record.steps if step.name == "LatestBlessed"), None)
    warm_start: Mapping[str, Any] = record.warm_start or {}
    base = warm_start.get("base", {}).get("version")
    found, missing = {}, []
    for version in sorted({int(each) for each in (compared, base) if each is not None}):
        folders = (serving_dir / config.model_name / name for name in (str(version), f"{WITHDRAWN}{version}"))
        folder = next((each for each in folders if each.is_dir()), None)
        if folder is not None:
            found[version] = folder
        elif warm_start.get("used") and str(version) == str(base):
            missing.append(f"version {version} of {config.model_name}, which training started from, is gone")
    return found, missing
