"""Gather the evidence from data, published model and earlier attempts, and decide.

It reads alone: what it ingests to measure goes to a temporary folder that is removed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from noisy_gru.components.evaluation.served_error import published_error, served_error
from noisy_gru.components.retrain_planner.alarms import alarms
from noisy_gru.components.retrain_planner.config import RulesConfig
from noisy_gru.components.retrain_planner.data_changes import data_changes
from noisy_gru.components.retrain_planner.evidence import (
    DataChanges,
    DataSizes,
    Evidence,
    Measurements,
    PublishedVersion,
)
from noisy_gru.components.retrain_planner.guards import guards
from noisy_gru.components.retrain_planner.plan import Reason, RetrainPlan
from noisy_gru.components.retrain_planner.time_text import utc_text
from noisy_gru.components.retrain_planner.triggers import triggers
from noisy_gru.data.ingestion.resolved_input import ResolvedInput, resolve_input
from noisy_gru.data.ingestion.spans import LATEST
from noisy_gru.data.reading.file_hashes import hash_files
from noisy_gru.data.reading.tables import Opener
from noisy_gru.registry.integrity import check_record, check_served
from noisy_gru.registry.published_versions import Publication, latest_publication, withdrawn_versions
from noisy_gru.registry.retraining_attempts import outcomes, read_attempts
from noisy_gru.registry.training_record import (
    DataFile,
    SpanFiles,
    TrainingRecord,
    data_hash,
    read_training_record,
)
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.span_patterns import format_spans
from noisy_gru.storage.object_stores import open_file

# Spans that are judged one by one: a week of nights. More are judged in so many groups.
MOST_PARTS = 7


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The pipeline that a decision is about.

    Attributes:
        pipeline: its name.
        dataset: patterns are relative to ``base``.
        base: folder or URI of the data.
        model_dir: folder of the model's versions.
        rules: when to retrain.
    """

    pipeline: str
    dataset: DatasetConfig
    base: str
    model_dir: Path
    rules: RulesConfig


def make_plan(
    subject: Subject,
    *,
    now: datetime,
    glob: Callable[[str], Sequence[str]],
    opener: Opener = open_file,
    span: str = LATEST,
    force: bool = False,
    run_id: str = "",
) -> RetrainPlan:
    """Decide whether to retrain.

    Args:
        subject: which pipeline.
        now: the time, with a time zone.
        glob: the paths that a pattern matches.
        opener: opens one of them.
        span: newest span to train on: ``latest``, a number, or a date.
        force: a person's order to retrain.
        run_id: of the run that asks, if it has begun: its own beginning is no attempt to judge by.

    Raises:
        UserError: the data or what is published can't be read; a span is missing or empty.
    """
    found = resolve_input(subject.base, subject.dataset.data, span, glob)
    contents = hash_files(found.sources, opener)
    by_name = {name: DataFile(name, size, digest) for name, (size, digest) in contents.items()}
    spans = [
        SpanFiles(each.number, each.version, tuple(by_name[name] for name in found.names_of(each)))
        for each in found.spans
    ]
    publication = latest_publication(subject.model_dir)
    if publication is not None:
        check_served(subject.model_dir)
        check_record(subject.model_dir, publication.version)
    record = read_training_record(subject.model_dir / str(publication.version)) if publication else None
    changes = data_changes(record, spans, list(by_name.values()))
    measured, why_not = _measured(subject, found, by_name, record, publication, changes)
    evidence = Evidence(
        base=_base(publication, record),
        changes=changes,
        spans=tuple(found.numbers),
        data=data_hash({"files": [vars(file) for file in by_name.values()]}),
        measured=measured,
        why_not_measured=why_not,
        attempts=outcomes(read_attempts(subject.model_dir), but=run_id),
        withdrawn=withdrawn_versions(subject.model_dir),
        sizes=_sizes(spans, by_name, record, changes),
    )
    return decide(subject.rules, evidence, pipeline=subject.pipeline, now=now, force=force)


def decide(rules: RulesConfig, evidence: Evidence, *, pipeline: str, now: datetime, force: bool = False) -> RetrainPlan:
    """Combine the verdicts of all rules: due if a trigger is met and no guard is, held if there is an alarm as well.

    The same evidence at the same time gives the same plan.

    Args:
        rules: of the configuration.
        evidence: what is known.
        pipeline: its name.
        now: the time, with a time zone.
        force: a person's order to retrain, whatever the rules say.
    """
    reasons = (
        *triggers(rules, evidence, now),
        *guards(rules, evidence, now),
        *alarms(rules.alarms, evidence),
    )
    if force:
        reasons += (
            Reason(rule="force", kind="order", met=True, text="ordered by --force, whatever the rules and alarms say"),
        )
    met = {reason.kind for reason in reasons if reason.met}
    due = "trigger" in met and "guard" not in met
    return RetrainPlan(
        pipeline=pipeline,
        retrain=force or (due and "alarm" not in met),
        held=due and "alarm" in met and not force,
        reasons=reasons,
        spans=format_spans(evidence.spans),
        newest_span=max(evidence.spans, default=None),
        new_spans=evidence.changes.new_spans,
        base_version=evidence.base.version if evidence.base else None,
        data=evidence.data,
        decided_at=utc_text(now),
    )


def _base(publication: Publication | None, record: TrainingRecord | None) -> PublishedVersion | None:
    if publication is None:
        return None
    spans = format_spans([each.number for each in record.spans]) if record else ""
    return PublishedVersion(
        version=publication.version, published=datetime.fromisoformat(publication.published), spans=spans
    )


def _sizes(
    spans: Sequence[SpanFiles], files: Mapping[str, DataFile], record: TrainingRecord | None, changes: DataChanges
) -> DataSizes | None:
    """Return the bytes of the new spans and of those trained on; of all files where there are no spans."""
    if record is None or not changes.known:
        return None
    if not changes.by_span:
        known, now = (sum(file.bytes or 0 for file in each) for each in (record.files, files.values()))
        return DataSizes(by_span=False, new={"all data": now} if changes.count else {}, known=(known,) if known else ())
    sizes = {span.number: sum(file.bytes or 0 for file in span.files) for span in record.spans}
    new = set(changes.new_spans)
    return DataSizes(
        by_span=True,
        new={
            f"span {span.number}": sum(file.bytes or 0 for file in span.files) for span in spans if span.number in new
        },
        known=tuple(size for size in sizes.values() if size),
    )


def _measured(
    subject: Subject,
    found: ResolvedInput,
    files: Mapping[str, DataFile],
    record: TrainingRecord | None,
    publication: Publication | None,
    changes: DataChanges,
) -> tuple[Measurements | None, str]:
    """Measure the new data, or return why it isn't measured."""
    rules = subject.rules
    published = published_error(record.metrics, subject.dataset.task) if record is not None else None
    collapse = rules.alarms.collapse if published is not None and published.part < 1 else None
    if not rules.measures and collapse is None:
        return None, "no rule asks for it"
    if publication is None or record is None or not changes.known:
        return None, "there is nothing to compare with"
    if not changes.files:
        return None, "there is no new data"
    names, numbers = set(changes.files), set(changes.new_spans)
    new, before = (
        ResolvedInput(
            tuple(span for span in found.spans if (span.number in numbers) == is_new),
            tuple(source for source in found.sources if (source.name in names) == is_new),
        )
        for is_new in (True, False)
    )
    # They import Beam and TensorFlow, which a plan without measuring goes without.
    from noisy_gru.components.retrain_planner.new_data import measure

    drift_of = like = None
    why_not = ""
    if rules.drift and record.values is None:
        why_not = (
            f"version {publication.version} carries no sample of its training data, as those of older releases do; "
            "the next one that is published will"
        )
    elif rules.drift and record.values is not None:
        from noisy_gru.components.retrain_planner.drift import measure_drift
        from noisy_gru.data.sequences.value_sample import read_values

        like = read_values(record.values.read_bytes(), str(record.values))
        drift_of = partial(measure_drift, like, dataset=subject.dataset, **rules.drift.model_dump())
    served_of, why_not_served = None, "no alarm is set"
    if collapse is not None and published is not None:
        folder = subject.model_dir / str(publication.version)
        served_of = partial(served_error, folder, dataset=subject.dataset, published=published, collapse=collapse)
        why_not_served = ""
    elif rules.alarms.collapse is not None:
        why_not_served = f"version {publication.version} doesn't say that it was better than the naive answer"
    measured = measure(
        new,
        subject.dataset,
        before=before,
        size_of=lambda source: files[source.name].bytes or 0,
        drift_of=drift_of,
        like=like,
        why_not=why_not,
        served_of=served_of,
        why_not_served=why_not_served,
        parts=_parts(new),
    )
    return measured, ""


def _parts(new: ResolvedInput) -> list[tuple[str, ResolvedInput]]:
    """Return the new spans, or files where there are no spans, one by one; many are grouped with their neighbours."""
    units: list[tuple[int | str, ResolvedInput]] = [
        (span.number, ResolvedInput((span,), tuple(source for source in new.sources if source.path in set(span.files))))
        for span in new.spans
    ] or [(source.name, ResolvedInput((), (source,))) for source in new.sources]
    count = min(MOST_PARTS, len(units))
    groups = [units[len(units) * place // count : len(units) * (place + 1) // count] for place in range(count)]
    return [(_part_name([name for name, _ in group]), _joined(each for _, each in group)) for group in groups]


def _part_name(names: Sequence[int | str]) -> str:
    spans = [name for name in names if isinstance(name, int)]
    if spans:
        return f"span{'s' * (len(spans) != 1)} {format_spans(spans)}"
    return str(names[0]) if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _joined(several: Iterable[ResolvedInput]) -> ResolvedInput:
    found = list(several)
    return ResolvedInput(
        tuple(span for each in found for span in each.spans), tuple(source for each in found for source in each.sources)
    )
