"""One label per series, or per step; the policies decide about missing and conflicting ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.schema.config import PoliciesConfig

MISSING, CONFLICTING = "missing_label", "conflicting_label"


def resolve_targets(
    rows: Rows, targets: Sequence[str], policies: PoliciesConfig, time_kind: str, quarantine: Quarantine
) -> Rows:
    """Set each sorted row's targets, of a regression of several, to those of its series.

    A row without one takes that of the other rows of its series. Series with none at all, or with several values of
    one, are rejected.
    """
    if not targets or not len(rows):
        return rows
    starts = rows.starts()
    series = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    unknown, conflicting = np.ones(len(starts) - 1, bool), np.zeros(len(starts) - 1, bool)
    found = {}
    for name in targets:
        low, high = (each.reduceat(rows.numeric[name], starts[:-1]) for each in (np.fmin, np.fmax))
        unknown &= np.isnan(high)
        conflicting |= ~np.isnan(high) & (low != high)
        found[name] = high[series]
    rejected = (
        (MISSING, unknown, f"expected a value of {', '.join(targets)} in a row of the sequence, received none"),
        (
            CONFLICTING,
            conflicting,
            f"expected the same {', '.join(targets)} in all rows of the sequence, received others",
        ),
    )
    _report(rows, series, rejected, policies, time_kind, quarantine)
    return replace(rows, numeric={**rows.numeric, **found}).take(~(unknown | conflicting)[series])


def _report(
    rows: Rows,
    series: np.ndarray,
    rejected: Iterable[tuple[str, np.ndarray, str]],
    policies: PoliciesConfig,
    time_kind: str,
    quarantine: Quarantine,
) -> None:
    """Report the rows of rejected series: policy, bool [series] and the problem in words; ``series`` is each row's."""
    for policy, bad, problem in rejected:
        out = bad[series]
        quarantine.rows(
            getattr(policies, policy),
            policy,
            int(out.sum()),
            lambda out=out, problem=problem: rows.records(np.flatnonzero(out), time_kind, problem),
        )


def resolve_labels(rows: Rows, policies: PoliciesConfig, time_kind: str, quarantine: Quarantine) -> Rows:
    """Set each sorted row's label to that of its series; reject series without exactly one label.

    A row without a label takes that of the other rows of its series. Labels of steps stay as they are.
    """
    if rows.label is None or not len(rows) or rows.label_per_step:
        return rows
    starts = rows.starts()
    series = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    if isinstance(rows.label, tuple):
        codes = rows.label[0]
        low = np.minimum.reduceat(np.where(codes < 0, np.iinfo(codes.dtype).max, codes), starts[:-1])
        high = np.maximum.reduceat(codes, starts[:-1])
        missing = high < 0
        label: Any = (high[series], rows.label[1])
    else:
        low, high = np.fmin.reduceat(rows.label, starts[:-1]), np.fmax.reduceat(rows.label, starts[:-1])
        missing = np.isnan(high)
        label = high[series]
    conflicting = ~missing & (low != high)
    rejected = (
        (MISSING, missing, "expected a label in a row of the sequence, received none"),
        (CONFLICTING, conflicting, "expected the same label in all rows of the sequence, received others"),
    )
    _report(rows, series, rejected, policies, time_kind, quarantine)
    return replace(rows, label=label).take(~(missing | conflicting)[series])
