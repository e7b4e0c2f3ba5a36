"""Evidence of a retraining decision: data changes, sizes, drift and the served model's error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from noisy_gru.components.evaluation.served_error import ServedError
from noisy_gru.registry.retraining_attempts import Outcome


@dataclass(frozen=True, kw_only=True)
class PublishedVersion:
    """The published model that the data is compared with.

    Attributes:
        version: of the model.
        published: when.
        spans: that it was trained on, such as ``3-9``; empty where the patterns have no ``{SPAN}``.
    """

    version: int
    published: datetime
    spans: str = ""


@dataclass(frozen=True, kw_only=True)
class DataChanges:
    """Changes of the data since the published model's training.

    Attributes:
        by_span: whether the patterns have a ``{SPAN}``; else files are compared.
        known: whether the published model says what it was trained on; if not, everything is new.
        spans: numbers of the spans that it doesn't know.
        changed: numbers of the spans that it was trained on with another version or other files, and why.
        files: names of the new or changed files; of all files of new or changed spans.
        altered: those of ``files`` whose content is another one than was trained on (without ``{SPAN}`` alone).
        gone: names of files that it was trained on and that aren't there any more (without ``{SPAN}`` alone).
    """

    by_span: bool
    known: bool
    spans: tuple[int, ...] = ()
    changed: dict[int, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    @property
    def new_spans(self) -> tuple[int, ...]:
        """New and changed spans, ascending."""
        return tuple(sorted({*self.spans, *self.changed}))

    @property
    def count(self) -> int:
        """The count for `rules.new_spans`: spans, or files."""
        return len(self.new_spans) if self.by_span else len(self.files) + len(self.gone)


@dataclass(frozen=True, kw_only=True)
class FeatureDrift:
    """Drift of one column by one measure.

    Attributes:
        feature: name of the column.
        measure: ``location``, ``spread``, ``shape``, ``shares`` or ``missing``; empty for a column that one side
            doesn't have.
        distance: in [0, 1]; None for a column that one side doesn't have.
        p_value: part of the data of the same distribution in which any column is as conspicuous by any measure.
        drifted: whether it counts: by its p-value, or for being there on one side alone.
        change: ``appeared`` or ``disappeared``, or empty.
    """

    feature: str
    measure: str = ""
    distance: float | None = None
    p_value: float | None = None
    drifted: bool = False
    change: str = ""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Drift of all columns.

    Attributes:
        features: by column and measure.
        compared: how much was compared, in words.
        false_alarm_rate: the level of the p-values that count.
    """

    features: tuple[FeatureDrift, ...]
    compared: str
    false_alarm_rate: float


@dataclass(frozen=True, kw_only=True)
class DataSizes:
    """Bytes of the data.

    Attributes:
        by_span: whether of spans; else of all files together.
        new: by name of the new spans.
        known: of the spans that the published model was trained on.
    """

    by_span: bool
    new: dict[str, int]
    known: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Measurements of the ingested new data.

    Attributes:
        rows: that were read.
        sequences: that came of them, of all splits.
        drift: of the columns; None where it wasn't asked for, or couldn't be measured.
        why_no_drift: why it is None.
        served: the served model's error on it; None where it wasn't asked for, or couldn't be measured.
        why_not_served: why it is None.
    """

    rows: int
    sequences: int
    drift: Drift | None = None
    why_no_drift: str = ""
    served: ServedError | None = None
    why_not_served: str = ""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All evidence of a decision.

    Attributes:
        base: the published model; None: there is none.
        changes: of the data since the published model was trained.
        spans: to train on, rising.
        data: fingerprint of all files to train on.
        measured: what ingesting the new data showed; None: it wasn't ingested.
        why_not_measured: why not.
        attempts: earlier retrainings, in the order in which they began.
        withdrawn: versions that were published and taken back.
        sizes: of the new data and of what was trained on; None: there is nothing to compare.
    """

    base: PublishedVersion | None
    changes: DataChanges
    spans: tuple[int, ...]
    data: str
    measured: Measurements | None = None
    why_not_measured: str = ""
    attempts: Sequence[Outcome] = ()
    withdrawn: Sequence[int] = ()
    sizes: DataSizes | None = None
