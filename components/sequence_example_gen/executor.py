"""Runs ingestion as one Beam pipeline, and ends the run where the account asks for it."""

# pyright: reportAttributeAccessIssue=false
# Protocol buffers' classes are made when they are imported.
from __future__ import annotations

import json
from typing import Any

from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from noisy_gru.components.sequence_example_gen.account import Account
from noisy_gru.components.sequence_example_gen.beam_transforms import PART, ingest
from noisy_gru.components.sequence_example_gen.buckets import boundaries_of
from noisy_gru.components.sequence_example_gen.chunks import bucket_count
from noisy_gru.components.sequence_example_gen.errors import DataError
from noisy_gru.components.sequence_example_gen.files import sources
from noisy_gru.components.sequence_example_gen.report import check, summary
from noisy_gru.schema.config import SPLITS, DatasetConfig

DATASET_KEY = "dataset"
ACCOUNT_KEY = "account"
ACCOUNT_FILE = "account.json"
QUARANTINE_FOLDER = "quarantine"
REJECTED_FOLDER = "rejected"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Reads the files of the resolved input config, and writes ``examples`` and ``account``."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Run ingestion.

        Args:
            input_dict: empty.
            output_dict: ``examples`` (Examples) and ``account`` (IngestionAccount).
            exec_properties: ``input_base``, ``input_config`` (patterns with span and version filled in by the driver)
                and ``dataset`` (DatasetConfig as JSON).

        Raises:
            DataError: the data can't be used; the message says which, why, and what to do.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        kept = artifact_utils.get_single_instance(output_dict[ACCOUNT_KEY])
        dataset = DatasetConfig.model_validate_json(exec_properties[DATASET_KEY])
        config = example_gen_pb2.Input()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.INPUT_CONFIG_KEY], config)
        found = sources(
            exec_properties[standard_component_specs.INPUT_BASE_KEY] or "",
            [(split.name, split.pattern) for split in config.splits],
            dataset.data,
            lambda pattern: [str(path) for path in fileio.glob(pattern)],
        )
        sizes = [(source.format, fileio.stat(source.path).length) for source in found]
        parts = f"{kept.uri}/parts.json"
        with self._make_beam_pipeline() as pipeline:
            ingest(
                pipeline,
                found,
                exec_properties[DATASET_KEY],
                buckets=bucket_count(sizes),
                examples=examples.uri,
                quarantine=f"{kept.uri}/{QUARANTINE_FOLDER}",
                account=parts,
            )
        for left in fileio.glob(f"{examples.uri}/Split-*/.*{PART}"):  # a lost worker's; readers take all files
            fileio.remove(left)
        with fileio.open(parts, "rb") as stream:
            account = Account.from_json(stream.read())
        fileio.remove(parts)
        report = summary(account, dataset, boundaries_of(account, dataset) if not account.faults else None)
        with fileio.open(f"{kept.uri}/{ACCOUNT_FILE}", "w") as stream:
            stream.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        fileio.makedirs(f"{kept.uri}/{QUARANTINE_FOLDER}")
        rejected = f"{kept.uri.rsplit('/', 2)[0]}/{REJECTED_FOLDER}/{kept.uri.rsplit('/', 1)[1]}"
        try:
            check(account, dataset, f" The account and all quarantined rows are kept in {rejected}")
        except DataError:
            _copy(kept.uri, rejected)
            raise
        examples.split_names = artifact_utils.encode_split_names(
            [split for split in SPLITS if account.sequences[split]]
        )
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(examples, "tfrecords_gzip")


def _copy(folder: str, to: str) -> None:
    """Copy an account, since TFX removes the outputs of a step that fails."""
    for parent, _, names in fileio.walk(folder):
        target = to + str(parent)[len(folder) :]
        fileio.makedirs(target)
        for name in names:
            fileio.copy(f"{parent}/{name}", f"{target}/{name}", overwrite=True)
