"""Read the messages of an event stream, each one row, with the parsing and the row policies of training.

>>> events, rejected = EventReader(dataset).read(messages)  # doctest: +SKIP
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from noisy_gru.data.columns import Columns
from noisy_gru.data.ingestion.report_checks import check_errors
from noisy_gru.data.reading.block_parser import BlockParser
from noisy_gru.data.reading.csv_records import Malformed
from noisy_gru.data.reading.json_lines import RowCollector
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.csv_config import BLANK_RUNS
from noisy_gru.schema.errors import ConfigError

ValueFormat = Literal["json", "csv"]
Time = int | float
_SOURCE = Source("<events>", "<events>", "jsonl")
_DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a partition; ``timestamp`` is the one that its producer or the broker set, in ms since 1970."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Event:
    """A usable message: its canonical entity and time (as in ``Rows``), and its values by column."""

    message: Message
    entity: str
    time: Time
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """A message that is no usable event, with the reason (of the ingestion report) and the problem in words."""

    message: Message
    reason: str
    problem: str


@dataclass
class ReadEvents:
    """Usable events in the order of the messages, the others, and the number of messages that a policy drops."""

    events: list[Event] = field(default_factory=list)
    rejected: list[RejectedEvent] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


class EventReader:
    """Read messages as rows to predict from, without label and split.

    Args:
        dataset: the configuration.
        value_format: `json`: a value is an object, as a line of JSON lines; an absent key is a missing value. `csv`: a
            record in the dialect of `data.csv`, with the columns ``header``.
        header: columns of the records; None: `data.csv.header`.

    Raises:
        ConfigError: the columns of CSV records are unknown.
    """

    def __init__(
        self, dataset: DatasetConfig, *, value_format: ValueFormat = "json", header: Sequence[str] | None = None
    ) -> None:
        columns = Columns.of(dataset, prediction=True)
        self._wanted = columns.wanted()
        self._parser = BlockParser(dataset, prediction=True)
        self._dialect = dataset.data.csv
        self._csv = value_format == "csv"
        # A static value may have come before, and a target that is no feature is not read from.
        optional = {*columns.static} - {*columns.entity}
        self._required = [name for name in columns.required(prediction=True) if name not in optional]
        configured = dataset.data.csv.header
        self._header = list(header) if header else list(configured) if isinstance(configured, list) else []
        if not self._csv:
            return
        if not self._header:
            raise ConfigError(
                "events in CSV have no header line: name their columns in order, with --csv-columns a,b,c or in "
                "data.csv.header"
            )
        if missing := [name for name in self._required if name not in self._header]:
            raise ConfigError(
                f"--csv-columns: expected the columns {', '.join(missing)} as well; received {', '.join(self._header)}"
            )

    def read(self, messages: Sequence[Message]) -> ReadEvents:
        """Read messages.

        Raises:
            DataError: a policy that says ``error`` has found a case.
        """
        collector = RowCollector(self._wanted)
        for number, message in enumerate(messages, start=1):
            if message.value is None:
                collector.malformed.append(Malformed(number, "expected an event, received a message without a value"))
            elif self._csv:
                self._add_record(collector, number, message.value)
            else:
                collector.add(number, number, message.value)
        quarantine = Quarantine()
        table = self._parser.parse(collector.block(), _SOURCE, quarantine)
        check_errors(quarantine.report)
        rows = dict(zip(collector.numbers, collector.rows, strict=True))
        found = ReadEvents()
        names, times, numbers = (table[name].to_pylist() for name in ("entity", "time", "row"))
        for entity, time, number in zip(names, times, numbers, strict=True):
            row = rows[number]
            kept = {name: row.get(name) for name in self._required}
            kept |= {name: row[name] for name in self._wanted if row.get(name) is not None}
            found.events.append(Event(messages[number - 1], entity, time, kept))
        for line in sorted(quarantine.lines, key=lambda line: line["row"]):
            column = f"column {line['column']}: " if "column" in line else ""
            found.rejected.append(
                RejectedEvent(messages[line["row"] - 1], line["reason"], f"{column}{line['problem']}")
            )
        found.dropped = quarantine.report.dropped.copy()
        return found

    def _add_record(self, collector: RowCollector, number: int, value: bytes) -> None:
        try:
            collector.add_row(number, number, dict(zip(self._header, self._cells(value), strict=True)))
        except (ValueError, csv.Error) as error:  # UnicodeDecodeError is one
            collector.malformed.append(Malformed(number, str(error)))

    def _cells(self, value: bytes) -> list[str]:
        dialect = self._dialect
        text = value.decode(dialect.encoding).rstrip("\r\n")
        if dialect.delimiter == BLANK_RUNS:
            records = [text.split()]
        elif dialect.quote is None:
            records = [line.split(dialect.delimiter) for line in text.splitlines()]
        else:
            lines = io.StringIO(text, newline="")
            records = list(csv.reader(lines, delimiter=dialect.delimiter, quotechar=dialect.quote, strict=True))
        if len(records) != 1:
            raise ValueError(f"expected one CSV record, received {len(records)}")
        if len(records[0]) != len(self._header):
            raise ValueError(
                f"expected {len(self._header)} cells ({', '.join(self._header)}), received {len(records[0])}"
            )
        return records[0]
