"""Which spans and files an ingestion read, with their hashes, and what a span must hold."""

from __future__ import annotations

from typing import Any

from noisy_gru.data.ingestion.resolved_input import ResolvedInput
from noisy_gru.data.ingestion.spans import Span, format_gaps, span_gaps
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.schema.config import DataConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.span_patterns import SpanPattern


def lineage(report: IngestionReport, data: DataConfig, resolved: ResolvedInput) -> dict[str, Any]:
    """The parts ``spans``, ``files`` and ``window`` of the ingestion report; a file stands in one of the first two."""

    def told(names: list[str]) -> list[dict[str, Any]]:
        sizes = {name: report.hashes[name] for name in names}
        return [
            {"name": name, "rows": report.files[name], "bytes": size, "sha256": digest}
            for name, (size, digest) in sorted(sizes.items())
        ]

    spans = [(span, told(resolved.names_of(span))) for span in resolved.spans]
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
        "files": [] if spans else told([source.name for source in resolved.sources]),
        "window": window if spans else None,
    }


def check_spans(report: IngestionReport, data: DataConfig, resolved: ResolvedInput, where: str = "") -> None:
    """End the run where one span of the window is of no use, however much the others hold.

    Args:
        report: of the whole run.
        data: the data set's files.
        resolved: what was read.
        where: how to find the quarantined rows, for the message.

    Raises:
        DataError: a span has no rows, a file that can't be read, or too many such rows.
    """
    if report.file_errors:
        of_file = {name: span_name(span, data) for span in resolved.spans for name in resolved.names_of(span)}
        names = [fault.partition(": ")[0] for fault in report.file_errors]
        told = zip(names, report.file_errors, strict=True)
        raise DataError("\n".join(f"{of_file[name]}: {fault}" if name in of_file else fault for name, fault in told))
    if report.errors:
        return  # told with file and row
    most = data.policies.max_quarantined_fraction
    for span in resolved.spans:
        names = resolved.names_of(span)
        rows = sum(report.files[name] for name in names)
        bad = sum(report.quarantined_files[name] for name in names)
        if not rows:
            raise DataError(
                f"{span_name(span, data)} is empty: "
                f"{', '.join(names)} {'hold' if len(names) > 1 else 'holds'} no rows. Write it again, or remove it"
            )
        if bad > most * rows:
            raise DataError(
                f"{span_name(span, data)}: {bad:,} of its {rows:,} rows ({bad / rows:.1%}) can't be read, more than "
                f"data.policies.max_quarantined_fraction ({most:.1%}), which holds for every span: {', '.join(names)}. "
                f"Write it again, or remove it.{where}"
            )


def span_name(span: Span, data: DataConfig) -> str:
    """A span as messages call it: ``span 7``."""
    return SpanPattern(data.patterns[0]).span_name(span.number)
