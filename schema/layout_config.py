"""The `data.layout` and `data.excel` sections: where values stand in wide tables, and tables in workbooks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from noisy_gru.schema.section import Section


class ExcelConfig(Section):
    """The table in an Excel workbook (`.xlsx`); needs the extra [excel]."""

    sheet: str | None = Field(default=None, description="Name of the sheet; null: the only one.")
    header_row: int | None = Field(
        default=None, ge=1, description="Number of the row with the column names; null: the first that isn't empty."
    )
    header_rows: int = Field(
        default=1,
        ge=1,
        le=5,
        description="Rows of column names, of which `header_row` is the first: a column's names are joined by a blank, "
        "and those of an upper row hold for the empty cells after them, as of merged cells (`North sales`).",
    )


class LayoutConfig(Section):
    """Wide tables, which are read as if every cell of their value columns were a row."""

    kind: Literal["wide_series", "wide_steps"] = Field(
        description="`wide_series`: a row for each time and a column for each series, whose name is its `data.entity`. "
        "`wide_steps`: a row for each sequence and a column for each step, which is its `data.time`."
    )
    value: str = Field(default="value", description="Name of the column that the cells become.")
    columns: list[str] | None = Field(
        default=None,
        min_length=1,
        description="The value columns, by name or by patterns with `*`; null: all that the configuration doesn't "
        "name. The others that it names stand in each row, as before.",
    )
    first_columns: list[str] = Field(
        default_factory=list,
        description="Names of the first columns of the files, whatever their header says: `[class]` for UCR's files.",
    )
    entity: Literal["column", "row"] = Field(
        default="column",
        description="`wide_steps`: `row` names each sequence by its file and the number of its row, where no column "
        "does; `data.entity` is the name of that name.",
    )
    steps: Literal["number", "name"] = Field(
        default="number",
        description="`wide_steps`: times are numbers from `first_step` on, or the names of the columns (`2026-01`).",
    )
    first_step: int = Field(default=0, description="`wide_steps`, `steps: number`: the time of the first value column.")
    empty_cells: Literal["skip", "keep"] = Field(
        default="skip",
        description="`wide_series`: an empty cell is no row, or a row whose value is missing. (With `wide_steps` those "
        "at a row's end are no steps, and those before are missing values.)",
    )

    @model_validator(mode="after")
    def _keys_of_kind(self) -> LayoutConfig:
        of_steps = {"entity": "column", "steps": "number", "first_step": 0}
        if self.kind == "wide_series" and (
            given := [key for key, value in of_steps.items() if getattr(self, key) != value]
        ):
            raise ValueError(f"{', '.join(given)}: for kind: wide_steps, received kind: wide_series")
        if self.kind == "wide_steps" and self.empty_cells != "skip":
            raise ValueError("empty_cells is for kind: wide_series: steps at a row's end that are empty are no steps")
        if self.first_step and self.steps == "name":
            raise ValueError("first_step is for steps: number, received steps: name")
        if twice := sorted({name for name in self.first_columns if self.first_columns.count(name) > 1}):
            raise ValueError(f"first_columns: expected each name once, received {', '.join(twice)} more than once")
        return self
