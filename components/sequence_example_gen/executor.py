"""Run ingestion as one Beam pipeline, and stop the run if the report has errors."""

from __future__ import annotations

import json
import tempfile
from typing import Any

from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs

from noisy_gru.compat.tfx import log_startup, make_beam_pipeline, temporary_folder
from noisy_gru.components.sequence_example_gen.beam_transforms import PART, ingest
from noisy_gru.components.sequence_example_gen.driver import DATASET_KEY, FINGERPRINT_KEY, SPANS_KEY, states_of
from noisy_gru.components.window_reading.source import TABLES, TFRECORDS
from noisy_gru.data.ingestion.report_checks import check_report, check_spans
from noisy_gru.data.ingestion.report_summary import lineage, report_summary
from noisy_gru.data.ingestion.resolved_input import ResolvedInput
from noisy_gru.data.reading.file_hashes import forget_hashes, hash_files
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.sequences.chunks import bucket_count
from noisy_gru.data.sequences.example_files import stores_series
from noisy_gru.data.sequences.splits import boundaries_from_report
from noisy_gru.data.sequences.value_sample import sample_values, write_values
from noisy_gru.schema.config import SPLITS, DatasetConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.file_patterns import escape
from noisy_gru.storage.object_stores import FileState, open_file

REPORT_KEY = "ingestion_report"
REPORT_FILE = "ingestion_report.json"
QUARANTINE_FOLDER = "quarantine"
REJECTED_FOLDER = "rejected"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Read the files that the driver found, of all spans at once, and write ``examples`` and ``report``."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Run ingestion.

        Args:
            input_dict: empty.
            output_dict: ``examples`` (Examples) and ``report`` (IngestionReportArtifact).
            exec_properties: ``input_base``, ``dataset`` (DatasetConfig as JSON), and the driver's ``spans``
                (ResolvedInput as JSON) and ``input_fingerprint``.

        Raises:
            DataError: the data can't be used; the message says which, why, and what to do.
        """
        log_startup(self, input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        kept = artifact_utils.get_single_instance(output_dict[REPORT_KEY])
        dataset = DatasetConfig.model_validate_json(exec_properties[DATASET_KEY])
        base = exec_properties[standard_component_specs.INPUT_BASE_KEY] or ""
        resolved = ResolvedInput.from_json(exec_properties[SPANS_KEY], base, dataset.data)
        states = states_of(resolved.sources)
        parts = f"{kept.uri}/parts.json"
        with (
            # TFX removes its folder at the end of the step, and the next run that of a run that was killed.
            tempfile.TemporaryDirectory(prefix="shuffle-", dir=temporary_folder(self)) as spill,
            make_beam_pipeline(self) as pipeline,
        ):
            ingest(
                pipeline,
                list(resolved.sources),
                exec_properties[DATASET_KEY],
                buckets=bucket_count((source.format, states[source.name].size) for source in resolved.sources),
                examples=examples.uri,
                quarantine_folder=f"{kept.uri}/{QUARANTINE_FOLDER}",
                report=parts,
                # Other runners have disks for what they group, and no folder in common.
                spill=spill if isinstance(pipeline.runner, FnApiRunner) else None,
            )
        for left in fileio.glob(f"{escape(examples.uri)}/Split-*/.*{PART}"):  # a lost worker's; readers take all files
            fileio.remove(left)
        with fileio.open(parts, "rb") as stream:
            report = IngestionReport.from_json(stream.read())
        fileio.remove(parts)
        _check_unchanged(resolved, states, report, exec_properties[FINGERPRINT_KEY])
        content = report_summary(
            report, dataset, boundaries_from_report(report, dataset) if not report.file_errors else None
        )
        content |= lineage(report, dataset.data, resolved)
        with fileio.open(f"{kept.uri}/{REPORT_FILE}", "w") as stream:
            stream.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        fileio.makedirs(f"{kept.uri}/{QUARANTINE_FOLDER}")
        rejected = f"{kept.uri.rsplit('/', 2)[0]}/{REJECTED_FOLDER}/{kept.uri.rsplit('/', 1)[1]}"
        where = f" The report and all quarantined rows are kept in {rejected}"
        try:
            check_spans(report, dataset.data, resolved, where)
            check_report(report, dataset, where)
        except DataError:
            _copy(kept.uri, rejected)
            raise
        examples.split_names = artifact_utils.encode_split_names([split for split in SPLITS if report.sequences[split]])
        write_values(kept.uri, sample_values(examples.uri, "train", dataset))
        tables = stores_series(dataset)
        examples_utils.set_payload_format(
            examples, vars(example_gen_pb2)["FORMAT_PARQUET" if tables else "FORMAT_TF_EXAMPLE"]
        )
        examples_utils.set_file_format(examples, TABLES if tables else TFRECORDS)


def _check_unchanged(
    resolved: ResolvedInput, before: dict[str, FileState], report: IngestionReport, fingerprint: str
) -> None:
    """Check that the files read are those of the cache key and of the report's hashes."""
    after = states_of(resolved.sources)
    read = {name: (int(size), str(digest)) for name, (size, digest) in report.hashes.items()}
    # A file that can't be read has no hash, and is a fault that ends the run.
    if after == before and (report.file_errors or resolved.fingerprint(read) == fingerprint):
        return
    forget_hashes(resolved.sources)
    now = hash_files(resolved.sources, open_file)
    changed = [name for name, state in after.items() if state != before[name] or now[name] != read[name]]
    raise DataError(
        f"{', '.join(changed) or 'data.files'} changed while being read. Run it again; and give a file its name only "
        "when it is complete, for example by renaming it"
    )


def _copy(folder: str, to: str) -> None:
    """Copy a report, since TFX removes the outputs of a step that fails."""
    for parent, _, names in fileio.walk(folder):
        target = to + str(parent)[len(folder) :]
        fileio.makedirs(target)
        for name in names:
            fileio.copy(f"{parent}/{name}", f"{target}/{name}", overwrite=True)
