"""Score new spans with the published model: each span once, in a folder of its own, recorded in a log.

>>> score_new_spans(config, root=Path("runs/shop"))  # doctest: +SKIP
[SpanScore(span='2026-07-31', outcome='scored', version=1795625257, sequences=4120, …)]
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from noisy_gru.data.ingestion.spans import Span, find_spans
from noisy_gru.data.reading.files import to_sources
from noisy_gru.pipeline.batch_prediction.folder_prediction import predict_into_folder
from noisy_gru.pipeline.batch_prediction.part_folder import SUCCESS
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.config.score_config import ScoreConfig
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import timestamp
from noisy_gru.schema.config import DataConfig, SpansConfig
from noisy_gru.schema.errors import BusyError, ConfigError, UserError
from noisy_gru.schema.file_patterns import local_glob, unescape
from noisy_gru.schema.span_patterns import SpanPattern, holds_spans
from noisy_gru.storage.json_lines import append_record
from noisy_gru.storage.locks import exclusive_lock

SCORES = "scores.jsonl"
_LOCK = ".score.lock"
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, kw_only=True)
class SpanScore:
    """A line of ``scores.jsonl`` under the root: what came of scoring a span.

    Attributes:
        at: when it ended, in ISO 8601, UTC.
        pipeline: name of the pipeline.
        span: number or date; empty if the spans could not be looked for.
        outcome: scored or failed.
        version: of the model; None if it failed.
        sequences: how many were predicted.
        unused: rows that could not be used, by reason.
        seconds: wall-clock time.
        folder: of the predictions.
        error: message of the error; empty if there was none.
    """

    at: str
    pipeline: str
    span: str
    outcome: str
    version: int | None = None
    sequences: int = 0
    unused: dict[str, int] | None = None
    seconds: float = 0.0
    folder: str = ""
    error: str = ""

    def __str__(self) -> str:
        """Return a line for people."""
        span = f"span {self.span}: " if self.span else ""
        if self.outcome == "failed":
            return f"{span}failed: {self.error}"
        unused = sum((self.unused or {}).values())
        return (
            f"{span}{self.sequences:,} sequences scored by version {self.version} in {self.folder}"
            f"{f', {unused:,} rows not used' if unused else ''}"
        )


def score_new_spans(
    config: PipelineConfig,
    *,
    root: Path,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    log: Callable[[str], None] = lambda line: None,
) -> list[SpanScore]:
    """Score the spans that have not been, each into ``<out>/span=<number or date>``, and record it.

    A span that fails doesn't keep the others from being scored, and is tried again by the next call. An interrupted one
    continues with the version that it began with. Incomplete spans wait.

    Args:
        config: configuration with a section ``score``.
        root: root of the runs.
        now: clock.
        log: receives a line for each span.

    Returns:
        A record for each span that was tried.

    Raises:
        ConfigError: there is no section ``score``, or no pattern with spans.
        BusyError: another process scores under this root.
        UserError: the root can't be written.
    """
    score = config.score
    if score is None:
        raise ConfigError("expected a section `score` in CONFIG: score: {} scores the spans of data.files")
    directory = RunDirectory(root)
    directory.create()
    records: list[SpanScore] = []

    def ended(span: str, **values: object) -> None:
        record = SpanScore(at=timestamp(now()), pipeline=config.name, span=span, **values)  # type: ignore[arg-type]
        append_record(directory.root / SCORES, record)
        records.append(record)
        log(str(record))

    with exclusive_lock(directory.root / _LOCK, "noisy-gru score", "Wait for it."):
        data = _scored_data(config, score)
        try:
            spans = find_spans("", data, local_glob)
        except UserError as error:
            ended("", outcome="failed", error=str(error))
            return records
        if not spans:
            patterns = ", ".join(map(unescape, data.patterns))
            ended("", outcome="failed", error=f"no span found: {patterns} matches no file. Correct score.files")
        for place, span in enumerate(spans):
            folder = directory.root / score.out / f"span={span_label(span, data)}"
            if (score.first is not None and span.number < score.first) or (folder / SUCCESS).is_file():
                continue
            label = span_label(span, data)
            if span.missing:
                log(f"span {label}: waits, it is incomplete: {' and '.join(span.missing)}")
                continue
            began = time.monotonic()
            try:
                before = [each for each in spans[max(0, place - score.history) : place] if not each.missing]
                named = [(name, path) for each in [*before, span] for name, path in each.named]
                sources = to_sources("", named, data)
                folder.parent.mkdir(parents=True, exist_ok=True)
                result = predict_into_folder(
                    config,
                    sources,
                    folder,
                    root=root,
                    log=directory.logs / "score.log",
                    format_=score.format,
                    layout=score.layout,
                    part_size=score.part_size,
                    own=set(span.files) if before else None,
                    restart=True,
                    anomalies=score.anomalies,
                )
            except BusyError:
                raise
            except (UserError, OSError) as error:
                ended(label, outcome="failed", error=str(error), seconds=time.monotonic() - began, folder=str(folder))
            else:
                kept = {key: result[key] for key in ("version", "sequences", "unused")}
                ended(label, outcome="scored", seconds=time.monotonic() - began, folder=str(folder), **kept)
    return records


def span_label(span: Span, data: DataConfig) -> str:
    """Return a span's date, where the patterns hold one, or its number."""
    if SpanPattern(data.patterns[0]).dated:
        return str(_EPOCH + timedelta(days=span.number))
    return str(span.number)


def _scored_data(config: PipelineConfig, score: ScoreConfig) -> DataConfig:
    patterns = score.files or config.data.patterns
    if not holds_spans(patterns):
        raise ConfigError(
            "score: expected {SPAN} or a date ({YYYY}, {MM}, {DD}) in every pattern of data.files: set score.files"
        )
    if remote := [pattern for pattern in patterns if "://" in pattern]:
        raise ConfigError(f"score: expected local files, received {remote[0]}")
    return config.data.model_copy(update={"files": list(patterns), "spans": SpansConfig(), "sql": None})
