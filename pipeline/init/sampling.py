"""Sample the first rows of files as a table, for `noisy-gru init`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from noisy_gru.data.reading.files import format_by_ending
from noisy_gru.data.reading.formats import first_block
from noisy_gru.data.reading.partitions import partition_values
from noisy_gru.data.reading.preview import Preview, is_nested, preview_files
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.reading.workbooks import detect_sheet
from noisy_gru.pipeline.init.missing_codes import missing_codes, without_codes
from noisy_gru.pipeline.init.roles import Table
from noisy_gru.pipeline.init.spelling import Spelling, detect_spelling, spelling_of_texts
from noisy_gru.pipeline.init.wide_layout import Wide, detect_layout
from noisy_gru.pipeline.init.zones import Zone, zone_of_texts, zone_of_type
from noisy_gru.schema.config import ExcelConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.storage.object_stores import is_remote

STEP = "step of the record"
MOST_RECORDS = 2000
MOST_ROWS = 10_000
MANY_ROWS = 200_000  # where the first ones hold only a few sequences, as of recordings one after the other
MOST_CELLS = 200_000  # of cases: files are often sorted by class


@dataclass(frozen=True)
class Sample:
    """Sampled rows; ``format`` as in ``data.format``. For records, the column `STEP` has the order of steps.

    ``cases``: they are of .ts files, whose columns have the names of `ts_files`. ``wide``: the layout of a wide table,
    of which the rows are the cells. ``partitions``: the columns in the names of folders; ``excel``: where the
    table of workbooks is; ``nested``: the columns that hold lists or objects;
    ``zones``: those of the columns of times that have one other than UTC; ``codes``: the numbers that stand for a
    missing value, by column.
    """

    table: Table
    format: str
    spelling: Spelling = field(default_factory=Spelling)
    cases: bool = False
    wide: Wide | None = None
    partitions: Sequence[str] = ()
    excel: ExcelConfig = field(default_factory=ExcelConfig)
    nested: Sequence[str] = ()
    zones: dict[str, Zone] = field(default_factory=dict)
    codes: dict[str, list[float]] = field(default_factory=dict)

    @property
    def is_records(self) -> bool:
        """Return whether the files are TFRecords."""
        return self.format != "auto"


def sample(
    paths: Sequence[str],
    published: Sequence[str] | None = None,
    layout: str | None = None,
    most_rows: int = MOST_ROWS,
) -> Sample:
    """Sample files, which are all tables or all TFRecords of tf.Example (``.tfrecord`` in their names).

    Args:
        paths: the files.
        published: split of each file, if they are a published split; each split is a part of the table.
        layout: the layout of tables, if it is known.
        most_rows: of each file.

    Raises:
        ConfigError: both kinds, or no rows.
        DataError: a file can't be read.
    """
    records = [path for path in paths if "tfrecord" in _name(path).lower()]
    if records and len(records) < len(paths):
        raise ConfigError("--data: expected either tables or TFRecords, received both; make two data sets of them")
    spelling = Spelling() if records else detect_spelling(paths)
    formats = {format_by_ending(path) for path in paths}
    excel = detect_sheet(Source(paths[0], _name(paths[0]), "xlsx")) if formats == {"xlsx"} else ExcelConfig()
    previews = [] if records else [_rows_of_table(path, spelling, excel, most_rows) for path in paths]
    frames = [_records(path) for path in paths] if records else [each.sample for each in previews]
    frame = pd.concat(frames, ignore_index=True)
    partitions = list(dict.fromkeys(name for path in paths for name in partition_values(path)))
    if not records and not spelling.of_csv and not formats & {"ts", "ts.gz"}:
        spelling = spelling_of_texts(frame, typed=bool(formats & {"parquet", "arrow"}))
    if not spelling.of_csv:
        frame = _typed_partitions(frame, [name for name in partitions if name in frame])
    if not len(frame):
        raise ConfigError(f"--data {' '.join(paths)}: the files have no rows")
    names = list(dict.fromkeys(published or [""]))
    parts = [names.index(name) for name in published] if published else [0] * len(paths)
    is_cut = any(_is_cut(path, len(each), most_rows) for path, each in zip(paths, frames, strict=True))
    zones = {} if records else _zones(previews, frame)
    typed = spelling.typed(frame)
    codes = missing_codes(typed)
    table = Table(without_codes(typed, codes), np.repeat(parts, [len(each) for each in frames]), is_cut=is_cut)
    cases = formats <= {"ts", "ts.gz"}
    wide = None
    if not records and not cases:
        wide = detect_layout(table.frame, header=spelling.csv.header is True, layout=layout)
    return Sample(
        table if wide is None else wide.melted(table),
        "example" if records else "auto",
        spelling,
        cases=cases,
        wide=wide,
        partitions=partitions,
        excel=excel,
        nested=[name for each in previews for name, kind in each.types.items() if is_nested(kind)],
        zones=zones,
        codes=codes if wide is None else wide.codes_of_cells(codes),
    )


def _zones(previews: Sequence[Preview], frame: pd.DataFrame) -> dict[str, Zone]:
    """Return the zones of columns: of their types, or of the offsets of their texts."""
    found = {}
    for name in map(str, frame.columns):
        kind = next((each.types[name] for each in previews if name in each.types), None)
        zone = zone_of_type(kind) if kind is not None else None
        if zone is None and frame[name].dtype == object:
            zone = zone_of_texts(frame[name])
        if zone is not None:
            found[name] = zone
    return found


def _limit(path: str, most_rows: int) -> int:
    return MOST_CELLS if format_by_ending(path) in ("ts", "ts.gz") else most_rows


def _is_cut(path: str, rows: int, most_rows: int) -> bool:
    """Return whether a file may have more rows than those that were sampled of it."""
    of_text = (format_by_ending(path) or "").startswith("csv")
    if rows >= _limit(path, most_rows) or not of_text:
        return rows >= _limit(path, most_rows)
    packed = 20 if path.lower().endswith(".gz") else 1
    return is_remote(path) or Path(path).stat().st_size * packed > first_block(most_rows)


def _rows_of_table(path: str, spelling: Spelling, excel: ExcelConfig, most_rows: int) -> Preview:
    found = preview_files(
        [path], _limit(path, most_rows), csv_config=spelling.csv, as_text=spelling.of_csv, excel=excel
    )
    for name, value in partition_values(path).items():
        if name not in found.sample:
            found.sample[name] = pd.Series([value] * len(found.sample), dtype=object)
    return found


def _typed_partitions(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """Convert the columns in folders' names to numbers or times, where all of their values are such."""
    for name in names:
        for convert in (pd.to_numeric, lambda column: pd.to_datetime(column, format="ISO8601")):
            try:
                frame[name] = convert(frame[name])
            except (ValueError, TypeError):
                continue
            break
    return frame


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _records(path: str) -> pd.DataFrame:
    from noisy_gru.data.reading.tfrecords import example_lists, read_frames

    source = Source(path, path, "example")
    frames = [_rows(example_lists(record)) for record in islice(read_frames(source), MOST_RECORDS)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _rows(lists: dict[str, list[Any]]) -> pd.DataFrame:
    """One row for each step; what has one value stands in all of them, what fits neither is left out."""
    steps = max(map(len, lists.values()), default=0)
    columns = {
        name: values * steps if len(values) == 1 else values
        for name, values in sorted(lists.items())
        if len(values) in (1, steps)
    }
    decoded = {
        name: [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values]
        for name, values in columns.items()
    }
    return pd.DataFrame({**decoded, STEP: range(steps)})


def record_entity(frame: pd.DataFrame) -> str:
    """The feature that names a record: another value in each, and only one in it.

    Raises:
        ConfigError: there is none.
    """
    record = (frame[STEP] == 0).cumsum()
    groups = frame.groupby(record, sort=False)
    for name in map(str, frame.columns):
        column = frame[name]
        if name == STEP or pd.api.types.is_float_dtype(column):
            continue
        if (groups[name].nunique() == 1).all() and column.nunique() == record.iloc[-1]:
            return name
    raise ConfigError(
        f"no feature of {', '.join(map(str, frame.columns.drop(STEP)))} names a record: expected one with another "
        "value in each. Add one to the records, for example sequence_id, or name it with --entity"
    )
