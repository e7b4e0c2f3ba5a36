"""Ingests the new data alone, as a run would, into a folder that is removed again, and looks at what comes out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from noisy_gru.components.retrain_planner.evidence import FeatureDrift, Measured
from noisy_gru.components.retrain_planner.shards import SHARDS, ids_in, keep_others
from noisy_gru.components.sequence_example_gen.account import Account
from noisy_gru.components.sequence_example_gen.beam_transforms import ingest
from noisy_gru.components.sequence_example_gen.chunks import bucket_count
from noisy_gru.components.sequence_example_gen.lineage import check_spans
from noisy_gru.components.sequence_example_gen.report import check_rows
from noisy_gru.components.sequence_example_gen.resolved import Resolved
from noisy_gru.components.sequence_example_gen.tables import Source
from noisy_gru.schema.config import DatasetConfig, EntitySplitConfig, ForecastingConfig, TimeSplitConfig

# In the process that plans, with whatever runner the run itself has.
IN_PROCESS = (
    "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner",
    "--direct_running_mode=in_memory",
    "--direct_num_workers=1",
)
EXAMPLES = "examples"
# All sequences are looked at, of whatever split; a part of nothing keeps an embargo from taking any out.
_ONE_SPLIT = EntitySplitConfig(eval=0.0, test=1e-12)


def measure(
    new: Resolved,
    dataset: DatasetConfig,
    *,
    before: Resolved | None = None,
    size_of: Callable[[Source], int] = lambda source: 0,
    drift_of: Callable[[Any], tuple[FeatureDrift, ...]] | None = None,
    why_not: str = "",
) -> Measured:
    """Counts the new data's sequences, and measures how far it moved.

    Args:
        new: the spans and files to read.
        dataset: the configuration.
        before: what else is trained on. Windows of a forecast are cut across spans, so that those are counted and
            measured that the new data adds to the ones that there are without it. None: there is nothing else.
        size_of: bytes of a file, by which the work is cut.
        drift_of: measures the drift of statistics (``DatasetFeatureStatisticsList``); None: it isn't asked for.
        why_not: why it isn't, for the answer.

    Raises:
        DataError: the data can't be used, or a span holds no rows.
    """
    if isinstance(dataset.splits, TimeSplitConfig):
        dataset = dataset.model_copy(update={"splits": _ONE_SPLIT})
    if not isinstance(dataset.task, ForecastingConfig):
        before = None
    read = new if before is None else Resolved((*before.spans, *new.spans), (*before.sources, *new.sources))
    with tempfile.TemporaryDirectory(prefix="noisy-gru-plan-") as name:
        folder = Path(name)
        account = _ingested(read, dataset, folder, size_of)
        # What ends a run ends the plan, too: a decision on data that can't be read would be worth nothing.
        check_spans(account, dataset.data, read)
        check_rows(account, dataset)
        rows = sum(account.files[source.name] for source in new.sources)
        sequences = account.sequences.total()
        if before is not None and before.sources:
            _ingested(before, dataset, folder / "before", size_of)
            sequences = keep_others(folder / EXAMPLES, ids_in(folder / "before" / EXAMPLES))
        if drift_of is None:
            return Measured(rows=rows, sequences=sequences, why_no_drift=why_not)
        if not sequences:
            return Measured(rows=rows, sequences=0, why_no_drift=f"no sequence came of the {rows:,} new rows")
        return Measured(rows=rows, sequences=sequences, drift=drift_of(_statistics(folder)))


def _ingested(read: Resolved, dataset: DatasetConfig, folder: Path, size_of: Callable[[Source], int]) -> Account:
    """Ingests to ``<folder>/examples``."""
    with beam.Pipeline(options=PipelineOptions(list(IN_PROCESS))) as pipeline:
        ingest(
            pipeline,
            sorted(read.sources, key=lambda source: source.name),
            dataset.model_dump_json(),
            buckets=bucket_count((source.format, size_of(source)) for source in read.sources),
            examples=str(folder / EXAMPLES),
            quarantine=str(folder / "quarantine"),
            account=str(folder / "account.json"),
        )
    return Account.from_json((folder / "account.json").read_text())


def _statistics(folder: Path) -> Any:
    """Statistics of all splits' examples, with StatisticsGen's functions and options."""
    import tensorflow_data_validation as tfdv

    path: Any = str(folder / "statistics.tfrecord")  # TFDV's type hints say bytes
    return tfdv.generate_statistics_from_tfrecord(
        data_location=str(folder / EXAMPLES / SHARDS),
        output_path=path,
        pipeline_options=PipelineOptions(list(IN_PROCESS)),
    )
