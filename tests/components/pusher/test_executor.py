"""The Pusher as a step: which files it publishes, what it is told of versions, and what it says of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.registry.config import PublishingConfig
from noisy_gru.registry.labels import read_settings
from noisy_gru.registry.latest_version import copy_version
from noisy_gru.registry.published_versions import latest_publication, versions
from noisy_gru.registry.rollout import rollback
from noisy_gru.registry.training_record import read_training_record
from noisy_gru.schema.errors import PublishError

# TFX, Beam and ML Metadata warn of their own use of what they deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"
SETTINGS = PublishingConfig.model_validate({"versions": {"rollout": "canary", "keep": 2}})


@pytest.fixture
def blessing(model: Path, tmp_path: Path) -> Callable[[], Path]:
    """``blessing()`` is a new folder of an InfraBlessing that holds a copy of the model, with warm-up requests."""
    from tfx.utils import path_utils

    def _blessing() -> Path:
        folder = tmp_path / f"blessing-{len(list(tmp_path.glob('blessing-*')))}"
        stamped = Path(path_utils.stamped_model_path(str(folder)))
        shutil.copytree(model, stamped)
        (stamped / WARM_UP).parent.mkdir()
        (stamped / WARM_UP).write_bytes(b"requests")
        return folder

    return _blessing


@pytest.fixture
def report(tmp_path: Path) -> Path:
    folder = tmp_path / "ingestion_report"
    folder.mkdir()
    files = [{"name": "a.csv", "bytes": 5, "sha256": "aa"}]
    content = {"spans": [{"span": 4, "version": None, "files": files}], "sequences": {"by_split": {"train": 2}}}
    (folder / "ingestion_report.json").write_text(json.dumps(content))
    (folder / "values.npz").write_bytes(b"values")
    return folder


@pytest.fixture
def run(model: Path, report: Path, tmp_path: Path) -> Callable[[Path], Any]:
    """``run(blessing)`` pushes the model through TFX's launcher; the artifact that the step gives."""
    from ml_metadata.metadata_store import MetadataStore
    from tfx.dsl.components.common.importer import Importer
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.metadata import sqlite_metadata_connection_config
    from tfx.orchestration.pipeline import Pipeline
    from tfx.types import standard_artifacts

    from noisy_gru.components.artifacts import IngestionReportArtifact
    from noisy_gru.components.pusher.component import Pusher

    def _run(blessing: Path, backtest: Any = None) -> Any:
        given = Importer(source_uri=str(model.parent), artifact_type=standard_artifacts.Model).with_id("Model")
        blessed = Importer(
            source_uri=str(blessing),
            artifact_type=standard_artifacts.InfraBlessing,
            custom_properties={"blessed": 1, "has_model": 1},
        ).with_id("Blessing")
        ingested = Importer(source_uri=str(report), artifact_type=IngestionReportArtifact).with_id("IngestionReport")
        pusher = Pusher(
            model=given.outputs["result"],
            infra_blessing=blessed.outputs["result"],
            ingestion_report=ingested.outputs["result"],
            serving_dir=tmp_path / "serving",
            model_name="tiny",
            publishing=SETTINGS,
            run={"seed": 3, "config_hash": "c"},
            backtest=backtest,
        )
        connection = sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
        LocalDagRunner().run(
            Pipeline(
                pipeline_name="tiny",
                pipeline_root=str(tmp_path / "artifacts"),
                components=[given, blessed, ingested, pusher],
                metadata_connection_config=connection,
            )
        )
        pushed = MetadataStore(connection).get_artifacts_by_type("PushedModel")
        return max(pushed, key=lambda artifact: artifact.id).custom_properties

    return _run


def test_a_model_without_the_backtest_that_is_asked_for_is_refused(
    run: Any, blessing: Callable[[], Path], tmp_path: Path
) -> None:
    from datetime import UTC, datetime

    from noisy_gru.registry.backtest_record import BacktestGate, BacktestRecord, Gain

    gate, folder = BacktestGate("k", ["ridge"], 30), blessing()
    pushed = run(folder, gate)
    assert pushed["pushed"].int_value == 0
    assert "not published: evaluation.backtest: there is no backtest" in pushed["reason"].string_value
    gains = [Gain("mae/load", "ridge", 0.2, 0.1)]
    BacktestRecord(datetime.now(UTC).isoformat(), "k", 0.95, gains).write(tmp_path)
    assert run(folder, gate)["pushed"].int_value == 1


def test_the_copy_with_warm_up_requests_is_published(
    run: Callable[[Path], Any],
    blessing: Callable[[], Path],
    model: Path,
    change: Callable[[Path], Path],
    tmp_path: Path,
) -> None:
    (model.parent / "Format-Keras").mkdir()
    (model.parent / "Format-Keras" / "model.keras").write_bytes(b"keras")
    pushed = run(blessing())
    first = latest_publication(tmp_path / "serving" / "tiny")
    assert first is not None
    assert (tmp_path / "serving" / "tiny" / str(first.version) / WARM_UP).read_bytes() == b"requests"
    assert pushed["note"].string_value == f"version {first.version}"
    assert read_settings(tmp_path / "serving" / "tiny") == SETTINGS
    assert "canary" in (tmp_path / "serving" / "models.config").read_text()

    record = read_training_record(tmp_path / "serving" / "tiny" / str(first.version))
    assert record is not None
    assert [span.number for span in record.spans] == [4]
    assert (record.seed, record.config_hash, record.pipeline) == (3, "c", "tiny")
    assert record.run_id == first.lineage["run"] != ""
    assert record.values is not None
    assert record.values.read_bytes() == b"values"

    # The next run's LatestBlessed finds the Keras file in the version itself.
    (tmp_path / "latest").mkdir()
    assert copy_version(first, tmp_path / "serving", tmp_path / "latest") == ""
    files = [path for path in (tmp_path / "latest").rglob("*") if path.is_file()]
    names = {path.relative_to(tmp_path / "latest").as_posix() for path in files}
    assert "Format-Keras/model.keras" in names
    assert not any("assets.extra" in name or "publication" in name for name in names)

    change(model)
    pushed = run(blessing())
    newest = versions(tmp_path / "serving" / "tiny")[-1]
    assert pushed["stable_version"].string_value == str(first.version)
    canary = f"version {newest}; it is the canary, and {first.version} stays stable until: noisy-gru runs promote"
    assert pushed["note"].string_value == canary

    # Taken back, and made again: no failure, but a refusal in words.
    rollback(tmp_path / "serving", "tiny", reason="bad")
    pushed = run(blessing())
    assert pushed["pushed"].int_value == 0
    message = (
        f"not published: this model was published as version {newest} and withdrawn, so it isn't published again. "
    )
    assert pushed["reason"].string_value == f"{message}To serve it nevertheless: noisy-gru runs restore {newest}"
    assert versions(tmp_path / "serving" / "tiny") == [first.version]


def test_a_copy_of_another_model_is_not_published(
    run: Callable[[Path], Any],
    blessing: Callable[[], Path],
    model: Path,
    change: Callable[[Path], Path],
    tmp_path: Path,
) -> None:
    copy = blessing()
    change(model)
    with pytest.raises(
        PublishError, match=r"isn't a copy of .* the model in the ServingGate's blessing is another one"
    ):
        run(copy)
    assert versions(tmp_path / "serving" / "tiny") == []
