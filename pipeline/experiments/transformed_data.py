"""Run the graph's steps up to Transform for an experiment; those that nothing changed for come from TFX's cache."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from noisy_gru.compat.beam_counters import BeamCounters, counted_bundles
from noisy_gru.components.derived_schema_gen.curated_file import read_curated
from noisy_gru.data.ingestion.spans import LATEST
from noisy_gru.data.reading.file_hashes import hash_cache
from noisy_gru.pipeline.config.beam_config import beam_arguments
from noisy_gru.pipeline.config.checks import input_files
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.runs.beam_progress import INGESTION, STEPS, BeamProgress
from noisy_gru.pipeline.runs.faster_steps import faster_steps
from noisy_gru.pipeline.runs.progress import LiveProgress
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import StepRecord
from noisy_gru.pipeline.runs.step_errors import error_message, is_expected
from noisy_gru.pipeline.runs.step_report import sequences_of
from noisy_gru.schema.derivation import check_curated, schema_text
from noisy_gru.schema.errors import UserError
from noisy_gru.storage.object_stores import file_states

if TYPE_CHECKING:
    from noisy_gru.pipeline.runs.local_runner import StepResult
    from noisy_gru.trainer.experiments.trial import TransformedFiles

_LAST = "Transform"
logger = logging.getLogger(__name__)


def transformed_data(
    config: PipelineConfig,
    directory: RunDirectory,
    live: LiveProgress,
    *,
    span: str = LATEST,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> TransformedFiles:
    """Run the steps up to Transform, and return its output.

    Args:
        config: configuration from ``load_config``.
        directory: root of the runs, created.
        live: shows each step.
        span: newest span to read.
        now: clock.

    Raises:
        UserError: a step failed, or the root is in use.
    """
    live.started("loading TFX", 0, 0)
    from noisy_gru.pipeline.build import build_pipeline
    from noisy_gru.pipeline.runs.beam_type_cache import cache_beam_types
    from noisy_gru.pipeline.runs.local_runner import LocalRunner, connection_config
    from noisy_gru.pipeline.runs.metadata_server import check_server
    from noisy_gru.pipeline.runs.recovery import PREPARATION, clear_unfinished
    from noisy_gru.trainer.experiments.trial import TransformedFiles

    cache_beam_types()
    with directory.locked("an experiment's preparation"):
        directory.close_killed()
        connection = connection_config(config.metadata, directory.metadata)
        check_server(config.metadata, connection)
        clear_unfinished(directory, connection)
        path = config.schema_path
        schema = directory.keep_input(
            PurePosixPath(path).name, schema_text(check_curated(read_curated(path), path, config.dataset).schema)
        )
        input_bytes = sum(state.size for state in file_states(input_files(config, span)).values())
        pipeline = build_pipeline(
            config,
            pipeline_root=str(directory.artifacts),
            serving_dir=str(directory.serving),
            schema_file=str(schema),
            working_dir=str(directory.work),
            span=span,
            metadata_connection_config=connection,
            beam_pipeline_args=beam_arguments(config.beam, input_bytes),
        )
        live.stop()
        # What a kill leaves behind is found by it.
        marker = directory.experiments / f"{PREPARATION}{now():%Y%m%d-%H%M%S-%f}"
        marker.touch()
        counters = BeamCounters()
        observer = _Observer(live, BeamProgress(counters, input_bytes))
        try:
            with hash_cache(directory.hashes), counted_bundles(counters), faster_steps():
                LocalRunner(marker.name, observer, last=_LAST).run(pipeline)
        except UserError:
            raise
        except Exception as error:
            logger.exception("%s failed", observer.name)
            if not is_expected(error):
                raise
            raise UserError(error_message(error)) from error
        finally:
            live.stop()
        marker.unlink()
    outputs = observer.outputs
    examples, graph = (outputs[key][0].uri for key in ("transformed_examples", "transform_graph"))
    patterns = {split: [f"{examples}/Split-{split}/*"] for split in ("train", "eval")}
    return TransformedFiles(graph, patterns["train"], patterns["eval"])


class _Observer:
    """Shows each step, and keeps the outputs of the last one."""

    def __init__(self, live: LiveProgress, beam: BeamProgress):
        self._live, self._beam = live, beam
        self._sequences: dict[str, int] = {}
        self.name = ""
        self.outputs: Any = {}

    def started(self, name: str, number: int, total: int) -> None:
        self.name = name
        self._live.started(name, number, total)
        if name in STEPS:
            self._beam.begin(name, self._sequences)
            self._live.watch(self._beam.text)

    def finished(self, result: StepResult) -> None:
        if result.name == INGESTION:
            self._sequences = sequences_of(result)
        self.outputs = result.outputs
        self._live.finished(StepRecord(name=result.name, status=result.status, seconds=result.seconds))
