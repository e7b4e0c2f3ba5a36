"""Ingest the new data alone into a temporary folder, to count its sequences and measure drift and the served error."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from noisy_gru.components.evaluation.served_error import ServedError
from noisy_gru.components.retrain_planner.evidence import Drift, Measurements
from noisy_gru.components.sequence_example_gen.in_process import EXAMPLES, SHARDS, ingest_in_process, read_examples
from noisy_gru.data.ingestion.report_checks import check_rows, check_spans
from noisy_gru.data.ingestion.resolved_input import ResolvedInput
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.sequences import example_files
from noisy_gru.data.sequences.series_tables import without_windows
from noisy_gru.data.sequences.splits import without_splits
from noisy_gru.data.sequences.value_sample import ValueSample, sample_values
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig, TimeSplitConfig
from noisy_gru.schema.errors import DataError


def measure(
    new: ResolvedInput,
    dataset: DatasetConfig,
    *,
    before: ResolvedInput | None = None,
    size_of: Callable[[Source], int] = lambda source: 0,
    drift_of: Callable[[ValueSample], Drift] | None = None,
    like: ValueSample | None = None,
    why_not: str = "",
    served_of: Callable[..., ServedError] | None = None,
    why_not_served: str = "",
    parts: Sequence[tuple[str, ResolvedInput]] = (),
) -> Measurements:
    """Count the new data's sequences, and measure their drift.

    Args:
        new: the spans and files to read.
        dataset: the configuration.
        before: what else is trained on. Windows of a forecast are cut across spans, so that those are counted and
            measured that the new data adds to the ones that there are without it. None: there is nothing else.
        size_of: bytes of a file, by which the work is cut.
        drift_of: measures the drift of a sample of the new data; None: it isn't asked for.
        like: sample of the data to compare with.
        why_not: why it isn't, for the answer.
        served_of: measures the served model on serialized tf.Examples, with ``parts`` on those of each; None: it
            isn't asked for.
        why_not_served: why it isn't, for the answer.
        parts: of the new data, by name, for ``served_of``.

    Raises:
        DataError: the data can't be used, or a span holds no rows.
    """
    if isinstance(dataset.splits, TimeSplitConfig):
        dataset = without_splits(dataset)
    if isinstance(dataset.task, ForecastingConfig):
        dataset = example_files.with_windows(dataset, "cut")
    else:
        before = None
    read = new if before is None else ResolvedInput((*before.spans, *new.spans), (*before.sources, *new.sources))
    with tempfile.TemporaryDirectory(prefix="noisy-gru-plan-") as name:
        folder = Path(name)
        report = ingest_in_process(read.sources, dataset, folder, size_of)
        # What ends a run ends the plan, too: a decision on data that can't be read would be worth nothing.
        check_spans(report, dataset.data, read)
        check_rows(report, dataset)
        rows = sum(report.files[source.name] for source in new.sources)
        sequences = report.sequences.total()
        if before is not None and before.sources:
            ingest_in_process(before.sources, dataset, folder / "before", size_of)
            sequences = _drop_sequences(folder / EXAMPLES, _ids_in(folder / "before" / EXAMPLES))
        if not sequences:
            why_not = why_not_served = f"no sequence came of the {rows:,} new rows"
            drift_of = served_of = None
        drift = None
        if drift_of is not None:
            try:
                drift = drift_of(sample_values(str(folder / EXAMPLES), "*", dataset, like))
            except DataError as error:
                # Too little data is no reason to end the plan.
                why_not = str(error)
        served = None
        if served_of is not None:
            found = read_examples(folder)
            of_parts = _examples_of(parts, before, dataset, folder, size_of) if len(parts) > 1 else {}
            served = served_of(found, parts=of_parts)
        return Measurements(
            rows=rows,
            sequences=sequences,
            drift=drift,
            why_no_drift=why_not,
            served=served,
            why_not_served=why_not_served,
        )


def _examples_of(
    parts: Sequence[tuple[str, ResolvedInput]],
    before: ResolvedInput | None,
    dataset: DatasetConfig,
    folder: Path,
    size_of: Callable[[Source], int],
) -> dict[str, list[bytes]]:
    """Yield the examples that each part adds to those before it."""
    found: dict[str, list[bytes]] = {}
    sources = list(before.sources) if before is not None else []
    known = _ids_in(folder / "before" / EXAMPLES)
    for place, (name, part) in enumerate(parts):
        # Windows reach back into the parts before; whole sequences don't.
        sources = [*sources, *part.sources] if before is not None else list(part.sources)
        there = folder / f"part-{place}"
        ingest_in_process(sources, dataset, there, size_of)
        if before is not None:
            ids = _ids_in(there / EXAMPLES)
            _drop_sequences(there / EXAMPLES, known)
            known |= ids
        found[name] = read_examples(there)
    return found


def _ids_in(folder: Path) -> set[str]:
    """Return the names of the sequences in all shards below a folder."""
    return {name for shard in folder.glob(SHARDS) for name in example_files.read_ids(str(shard))}


def _drop_sequences(folder: Path, names: set[str]) -> int:
    """Remove the windows of these names from all tables below a folder; return how many are left."""
    kept = 0
    for file in sorted(folder.glob(SHARDS)):
        content, count = without_windows(file, names)
        kept += count
        file.unlink()
        if content is not None:
            file.write_bytes(content)
    return kept
