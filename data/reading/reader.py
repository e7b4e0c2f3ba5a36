"""Read any source of a data set into canonical tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.block_parser import BlockParser
from noisy_gru.data.reading.formats import read_blocks
from noisy_gru.data.reading.in_memory_tables import TABLE
from noisy_gru.data.reading.partitions import partition_values, with_partitions
from noisy_gru.data.reading.tables import Block, Opener, Source, check_columns, parquet_sources
from noisy_gru.data.reading.wide_tables import WideTable, is_long
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.schema.config import RECORDS, DatasetConfig
from noisy_gru.storage.object_stores import open_file


class Reader:
    """Read the sources of a data set.

    With ``prediction`` without label and split; with ``static_optional``, static columns may be absent.
    """

    def __init__(
        self,
        dataset: DatasetConfig,
        *,
        opener: Opener = open_file,
        prediction: bool = False,
        static_optional: bool = False,
    ) -> None:
        self._columns = columns = Columns.of(dataset, prediction=prediction)
        optional = {*columns.static} - {*columns.entity} if static_optional else set()
        self._required = [name for name in columns.required(prediction=prediction) if name not in optional]
        self._parser = BlockParser(dataset, prediction=prediction)
        self._opener, self._dataset, self._prediction = opener, dataset, prediction

    def parts(self, source: Source) -> list[Source]:
        """Split a file into parts that can be read in parallel."""
        if source.format == "parquet":
            wide = self._wide(source)
            return parquet_sources(source, self._required_of(source), self._opener, wide and wide.choose)
        return [source]

    def tables(self, source: Source, quarantine: Quarantine) -> Iterator[Any]:
        """Yield the canonical tables (pa.Table) of a source, block by block.

        Raises:
            DataError: the file can't be read, or lacks a column.
        """
        for block in self._blocks(source):
            yield self._parser.parse(block, source, quarantine)

    def _blocks(self, source: Source) -> Iterator[Block]:
        partitions = {name: value for name, value in self._partitions(source).items() if name in self._columns.wanted()}
        for block in self._rows(source):
            yield with_partitions(block, partitions) if partitions else block

    def _rows(self, source: Source) -> Iterator[Block]:
        wide, data, required = self._wide(source), self._dataset.data, self._required_of(source)
        if wide is None:
            yield from read_blocks(source, self._columns, required, self._opener, data)
            return
        for block in read_blocks(source, self._columns, required, self._opener, data, wide.choose):
            yield from wide.long(block, source)

    def _partitions(self, source: Source) -> dict[str, str | None]:
        """Return the columns in the names of a file's folders; a record of TFRecords holds all of its own."""
        return {} if source.format in (TABLE, *RECORDS) else partition_values(source.path)

    def _required_of(self, source: Source) -> list[str]:
        partitions = self._partitions(source)
        return [name for name in self._required if name not in partitions]

    def check_names(self, names: Sequence[str], source: Source) -> None:
        """Raise DataError if a file of these columns lacks one, or can't be read by the layout."""
        wide = self._wide(source)
        if wide is None:
            check_columns(names, self._required_of(source), source)
        else:
            wide.choose(names, source)

    def _wide(self, source: Source) -> WideTable | None:
        """Return the layout of a source; None if it is long. Tables in memory may be either."""
        if self._dataset.data.layout is None:
            return None
        if source.format == TABLE and is_long(source.table.column_names, self._dataset):
            return None
        return WideTable(self._dataset, self._required_of(source), prediction=self._prediction)
