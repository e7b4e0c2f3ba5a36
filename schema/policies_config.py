"""The `policies` section: what becomes of rows and sequences that can't be used."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from noisy_gru.schema.section import Section

RowPolicy = Literal["error", "quarantine", "drop"]


class PoliciesConfig(Section):
    """How unusable data is treated. The ingestion report counts each case."""

    duplicate_step: Literal["error", "quarantine", "drop"] = Field(
        default="quarantine",
        description="Rows with the same entity and time. Exact copies are always dropped but one; where values differ, "
        "`quarantine` sets all of them aside, `drop` keeps the first in the order of the values.",
    )
    unparsable_value: Literal["error", "quarantine", "drop", "impute"] = Field(
        default="quarantine",
        description="A value that is not of its column's kind. `impute` treats it as missing; `quarantine` and `drop` "
        "take the row. An unparsable entity, time or label can't be imputed and is quarantined instead.",
    )
    missing_value: Literal["error", "quarantine", "drop", "impute"] = Field(
        default="impute", description="An empty or NaN feature value. `impute` leaves it to the feature's `missing`."
    )
    infinite_value: Literal["error", "quarantine", "drop", "impute"] = Field(
        default="quarantine", description="An infinite feature value. `impute` treats it as missing."
    )
    missing_label: RowPolicy = Field(
        default="quarantine",
        description="A sequence without a label. A forecasting configuration of before `missing_target` means that.",
    )
    missing_target: Literal["mask", "error", "quarantine", "drop"] = Field(
        default="mask",
        description="Forecasting: a window with missing targets. `mask` keeps it if one of them is known, and leaves "
        "the missing ones out of loss and metrics; the others reject a window with any. Where `missing_label` alone is "
        "given, it counts here, too.",
    )
    conflicting_label: RowPolicy = Field(
        default="quarantine", description="A sequence whose rows name different labels."
    )
    conflicting_static: RowPolicy = Field(
        default="quarantine", description="An entity whose rows have different values of a `static` feature."
    )
    too_short: RowPolicy = Field(default="quarantine", description="A sequence with fewer steps than `min_length`.")
    too_long: Literal["error", "quarantine", "drop", "truncate"] = Field(
        default="truncate",
        description="A sequence with more steps than `max_length`; `truncate` keeps the latest steps.",
    )
    max_quarantined_fraction: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="The run fails when more than this part of the rows is quarantined, or of the rows of one span for "
        "what they hold themselves.",
    )

    @model_validator(mode="before")
    @classmethod
    def _missing_target_of_before(cls, values: Any) -> Any:
        """Windows had `missing_label` before `missing_target`: configurations and published models keep it."""
        if isinstance(values, dict) and "missing_label" in values and "missing_target" not in values:
            return {**values, "missing_target": values["missing_label"]}
        return values
