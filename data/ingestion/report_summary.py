"""The content of ``ingestion_report.json``: counts, lengths, time ranges, spans and files."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisy_gru.data.ingestion.resolved_input import ResolvedInput
from noisy_gru.data.ingestion.spans import format_gaps, span_gaps
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.sequences.splits import Boundaries
from noisy_gru.data.values.parsing import format_times
from noisy_gru.data.values.precision import precision_losses
from noisy_gru.schema.config import SPLITS, DataConfig, DatasetConfig

QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def counts_by_reason(counts: dict[str, int]) -> dict[str, int]:
    """Return the counts by reason, with their total."""
    return {"total": sum(counts.values()), **dict(sorted(counts.items()))}


def _lengths(report: IngestionReport) -> dict[str, Any]:
    """Return quantiles of the lengths, and the cost of padding all sequences to the longest."""
    if not report.lengths:
        return {}
    pairs = sorted((int(length), count) for length, count in report.lengths.items())
    lengths, counts = np.array(pairs).T
    total, ends = int(counts.sum()), np.cumsum(counts)
    places = [int(np.searchsorted(ends, part * (total - 1), side="right")) for part in QUANTILES]
    steps = int((lengths * counts).sum())
    return {
        "quantiles": {f"{part:g}": int(lengths[place]) for part, place in zip(QUANTILES, places, strict=True)},
        "mean": steps / total,
        "steps": steps,
        "padded_to_longest": {"steps": int(lengths[-1]) * total, "padding": 1 - steps / (int(lengths[-1]) * total)},
    }


def report_summary(report: IngestionReport, dataset: DatasetConfig, at: Boundaries | None) -> dict[str, Any]:
    """Return the content of ``ingestion_report.json`` besides ``lineage``, as docs/data-formats.md describes it."""
    time = dataset.data.time
    kind = time.kind if time else "integer"

    def shown(values: list[Any]) -> list[str | int | float]:
        array = np.array(values, float if kind == "float" else np.int64)
        return list(format_times(array, kind)) if kind == "timestamp" else array.tolist()

    return {
        "version": 1,
        "rows": {
            "read": report.rows_read,
            "kept": report.rows_kept,
            "quarantined": counts_by_reason(report.quarantined),
            "dropped": counts_by_reason(report.dropped),
        },
        "imputed": {reason: dict(sorted(cells.items())) for reason, cells in sorted(report.imputed.items())},
        "targets_masked": dict(sorted(report.targets_masked.items())),
        "steps_filled": report.steps_filled,
        "rows_merged": report.rows_merged,
        "entities": report.entities,
        "entities_in_several_splits": report.entities_in_several_splits,
        "sequences": {
            "total": report.sequences.total(),
            "by_split": {split: report.sequences[split] for split in SPLITS if report.sequences[split]},
            "quarantined": counts_by_reason(report.sequences_quarantined),
            "dropped": counts_by_reason(report.sequences_dropped),
        },
        "labels": {split: dict(sorted(counts.items())) for split, counts in sorted(report.labels.items())},
        "lengths": _lengths(report),
        "time": {name: shown(times) for name, times in sorted(report.time_ranges.items()) if time and name != "read"},
        "boundaries": dict(zip(("eval", "test"), shown([at.eval, at.test]), strict=True)) if at else {},
        "examples": dict(sorted(report.examples.items())),
        "precision": [str(each) for each in precision_losses(report.value_samples)],
    }


def lineage(report: IngestionReport, data: DataConfig, resolved: ResolvedInput) -> dict[str, Any]:
    """Return the parts ``spans``, ``files`` and ``window`` of the report file; a file is in one of the first two."""

    def file_records(names: list[str]) -> list[dict[str, Any]]:
        hashes = {name: report.hashes[name] for name in names}
        return [
            {"name": name, "rows": report.files[name], "bytes": size, "sha256": digest}
            for name, (size, digest) in sorted(hashes.items())
        ]

    spans = [(span, file_records(resolved.names_of(span))) for span in resolved.spans]
    window = {
        "window": data.spans.window,
        "asked": data.spans.count if data.spans.window == "rolling" else None,
        "read": len(spans),
        "gaps": format_gaps(span_gaps(resolved.numbers)),
    }
    return {
        "spans": [
            {"span": span.number, "version": span.version, "rows": sum(file["rows"] for file in files), "files": files}
            for span, files in spans
        ],
        "files": [] if spans else file_records([source.name for source in resolved.sources]),
        "window": window if spans else None,
    }
