"""Read any source of a data set into canonical tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.block_parser import BlockParser
from noisy_gru.data.reading.formats import read_blocks
from noisy_gru.data.reading.tables import Block, Opener, Source, local_open, parquet_sources
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.schema.config import DatasetConfig


class Reader:
    """Read the sources of a data set.

    With ``prediction`` without label and split; with ``static_optional``, static columns may be absent.
    """

    def __init__(
        self,
        dataset: DatasetConfig,
        *,
        opener: Opener = local_open,
        prediction: bool = False,
        static_optional: bool = False,
    ) -> None:
        self._columns = columns = Columns.of(dataset, prediction=prediction)
        optional = {*columns.static} - {columns.entity} if static_optional else set()
        self._required = [name for name in columns.required(prediction=prediction) if name not in optional]
        self._parser = BlockParser(dataset, prediction=prediction)
        self._opener, self._csv = opener, dataset.data.csv

    def parts(self, source: Source) -> list[Source]:
        """Split a file into parts that can be read in parallel."""
        if source.format == "parquet":
            return parquet_sources(source, self._required, self._opener)
        return [source]

    def tables(self, source: Source, quarantine: Quarantine) -> Iterator[Any]:
        """Yield the canonical tables (pa.Table) of a source, block by block.

        Raises:
            DataError: the file can't be read, or lacks a column.
        """
        for block in self._blocks(source):
            yield self._parser.parse(block, source, quarantine)

    def _blocks(self, source: Source) -> Iterator[Block]:
        return read_blocks(source, self._columns, self._required, self._opener, self._csv)
