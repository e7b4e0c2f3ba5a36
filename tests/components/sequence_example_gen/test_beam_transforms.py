"""Workers on several machines: they are at the same folder at once, repeat each other's work, and get lost."""

from __future__ import annotations

import errno
import gzip
from pathlib import Path
from typing import Any

import pytest

# Beam and TFX warn of themselves when they are imported.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_a_folder_that_another_worker_makes_meanwhile(tmp_path, monkeypatch):
    from apache_beam.io.filesystems import FileSystems

    from noisy_gru.components.sequence_example_gen.beam_transforms import write_bytes

    make = FileSystems.mkdirs

    def too_late(path: str) -> None:
        Path(path).mkdir(parents=True)
        make(path)  # as Beam does it, this is an error now

    monkeypatch.setattr(FileSystems, "mkdirs", too_late)
    write_bytes(str(tmp_path / "Split-train" / "a.gz"), b"content")
    assert (tmp_path / "Split-train" / "a.gz").read_bytes() == b"content"


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    from noisy_gru.components.sequence_example_gen.beam_transforms import write_bytes

    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        write_bytes(str(tmp_path / "file" / "Split-train" / "a.gz"), b"content")


def test_the_same_bundle_on_two_workers_at_once(tmp_path, monkeypatch):
    from apache_beam.io.filesystems import FileSystems

    from noisy_gru.components.sequence_example_gen.beam_transforms import write_bytes

    path = str(tmp_path / "Split-train" / "a.gz")
    create = FileSystems.create

    def overtaken(*arguments: Any, **options: Any) -> Any:
        stream = create(*arguments, **options)
        monkeypatch.setattr(FileSystems, "create", create)
        write_bytes(path, b"content")  # the other worker, from beginning to end
        return stream

    monkeypatch.setattr(FileSystems, "create", overtaken)
    write_bytes(path, b"content")
    assert Path(path).read_bytes() == b"content"
    assert [each.name for each in Path(path).parent.iterdir()] == ["a.gz"]


def test_what_a_lost_worker_left_is_no_example(tmp_path, monkeypatch, configured):
    from tfx.types import standard_artifacts

    from noisy_gru.components.artifacts import IngestionReportArtifact
    from noisy_gru.components.sequence_example_gen import executor
    from noisy_gru.components.sequence_example_gen.driver import resolved_properties

    rows = "".join(f"e{number},{step},1,c\n" for number in range(20) for step in range(3))
    (tmp_path / "rows.csv").write_text(f"id,t,x,y\n{rows}")
    dataset = configured(files=["rows.csv"])
    examples, report = standard_artifacts.Examples(), IngestionReportArtifact()
    examples.uri, report.uri = str(tmp_path / "examples" / "1"), str(tmp_path / "ingestion_report" / "1")
    ingest = executor.ingest

    def with_a_lost_worker(*arguments: Any, **options: Any) -> None:
        split = Path(options["examples"]) / "Split-train"
        split.mkdir(parents=True)
        (split / ".data_tfrecord-00000-of-00001-000.gz.0123abcd.part").write_bytes(gzip.compress(b"half a rec"))
        ingest(*arguments, **options)

    monkeypatch.setattr(executor, "ingest", with_a_lost_worker)
    arguments: list[Any] = ["--runner=FnApiRunner", "--sdk_container_image=none"]
    context = executor.Executor.Context(beam_pipeline_args=arguments, tmp_dir=str(tmp_path))
    properties, _ = resolved_properties(
        {"input_base": str(tmp_path), "dataset": dataset.model_dump_json(), "span": "latest"}
    )
    executor.Executor(context).Do({}, {"examples": [examples], "ingestion_report": [report]}, properties)
    found = sorted(path.name for path in (tmp_path / "examples" / "1" / "Split-train").iterdir())
    assert found == ["data_tfrecord-00000-of-00001-000.gz"]


def test_chunks_on_disk_make_the_same_examples(tmp_path, configured):
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from noisy_gru.components.sequence_example_gen.beam_transforms import ingest
    from noisy_gru.components.sequence_example_gen.in_process import IN_PROCESS
    from noisy_gru.data.reading.tables import Source

    rows = "".join(f"e{number},{step},{number},c\n" for number in range(30) for step in range(3))
    sources = []
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("id,t,x,y\n" + rows.replace("e", name[0]))
        sources.append(Source(str(tmp_path / name), name, "csv"))
    found: dict[bool, dict[str, bytes]] = {}
    for spilled in (False, True):
        folder = tmp_path / str(spilled)
        spill = folder / "spill"
        spill.mkdir(parents=True)
        with beam.Pipeline(options=PipelineOptions(list(IN_PROCESS))) as pipeline:
            ingest(
                pipeline,
                sources,
                configured().model_dump_json(),
                buckets=3,
                examples=str(folder / "examples"),
                quarantine_folder=str(folder / "quarantine"),
                report=str(folder / "examples" / "report.json"),
                spill=str(spill) if spilled else None,
            )
        assert len(list(spill.iterdir())) == (2 if spilled else 0)  # a file for each that was read
        files = (folder / "examples").rglob("*")
        found[spilled] = {str(path.relative_to(folder)): path.read_bytes() for path in files if path.is_file()}
    assert found[True] == found[False]
    assert len(found[True]) > 3


def test_a_disk_that_is_full_ends_the_step_and_leaves_nothing(tmp_path, configured, monkeypatch):
    from tfx.types import standard_artifacts

    from noisy_gru.components.artifacts import IngestionReportArtifact
    from noisy_gru.components.sequence_example_gen import executor
    from noisy_gru.components.sequence_example_gen.driver import resolved_properties
    from noisy_gru.data.sequences.spilled_chunks import SpilledChunks

    (tmp_path / "rows.csv").write_text("id,t,x,y\na,0,1,c\n")
    dataset = configured(files=["rows.csv"])
    examples, report = standard_artifacts.Examples(), IngestionReportArtifact()
    examples.uri, report.uri = str(tmp_path / "examples" / "1"), str(tmp_path / "ingestion_report" / "1")
    before: list[Path] = []

    def full(spill: SpilledChunks, chunk: bytes) -> bytes:
        before.extend(path for path in (tmp_path / "temporary").rglob("shuffle-*"))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SpilledChunks, "add", full)
    arguments: list[Any] = ["--runner=FnApiRunner", "--sdk_container_image=none"]
    context = executor.Executor.Context(
        beam_pipeline_args=arguments, tmp_dir=str(tmp_path / "temporary"), unique_id="1"
    )
    properties, _ = resolved_properties(
        {"input_base": str(tmp_path), "dataset": dataset.model_dump_json(), "span": "latest"}
    )
    with pytest.raises((OSError, RuntimeError), match="No space left on device"):
        executor.Executor(context).Do({}, {"examples": [examples], "ingestion_report": [report]}, properties)
    assert len(before) == 1
    assert not list((tmp_path / "temporary").rglob("shuffle-*"))
