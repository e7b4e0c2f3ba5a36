"""Prediction files: CSV, JSON lines and Parquet, written batch by batch, visible only when they are complete.

>>> with output_file(out) as partial:  # doctest: +SKIP
...     write_predictions(batches, partial, "csv", "short", out)
"""

from __future__ import annotations

import csv
import json
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from noisy_gru.data.arrow import pa, pa_parquet
from noisy_gru.schema.errors import ModelError, UserError
from noisy_gru.serving.client.prediction_columns import SEQUENCE_ID
from noisy_gru.serving.client.prediction_tables import Layout, plain_rows
from noisy_gru.serving.client.predictions import Answer, Predictions
from noisy_gru.storage.atomic_files import sync

FORMATS = ("csv", "jsonl", "parquet")
# Rows of a row group, as pyarrow.parquet.write_table cuts a table, and about how many bytes wait for it in memory.
ROW_GROUP_ROWS = 1 << 20
ROW_GROUP_BYTES = 64 << 20


def write_predictions(
    batches: Iterable[Predictions], partial: Path, format_: str, layout: Layout, out: Path | None
) -> None:
    """Write predictions to the file that ``output_file`` yields; ``out`` is its name in messages.

    Raises:
        UserError: the file can't be written.
        ModelError: the model changed its outputs in the middle.
    """
    write = {"csv": _write_csv, "jsonl": _write_json_lines, "parquet": _write_parquet}[format_]
    write(batches, partial, layout, out)


@contextmanager
def writing(out: Path | None) -> Iterator[None]:
    """Turn errors of the operating system in the block into UserError that names --out."""
    try:
        yield
    except OSError as error:
        raise UserError(f"--out {out or '(standard output)'}: can't be written: {error.strerror or error}") from error


@contextmanager
def output_file(out: Path | None) -> Iterator[Path]:
    """Yield a file to write, which becomes ``out`` at the end of the block; None is standard output.

    After an error ``out`` is as it was. What isn't a regular file (a pipe, a device) gets a copy at the end.

    Raises:
        UserError: ``out`` can't be written.
    """
    target = out.resolve() if out is not None else None
    in_place = target is None or (target.exists() and not target.is_file())
    if target is not None and not in_place:
        partial = target.with_name(f".predict-{secrets.token_hex(4)}.partial")
        try:
            partial.touch(exist_ok=False)
        except OSError:
            # A file may be writable in a folder that isn't; another obstacle is reported by the copy.
            in_place = True
    if target is None or in_place:
        with tempfile.TemporaryDirectory(prefix="noisy-gru-predict-") as folder:
            partial = Path(folder) / "predictions"
            yield partial
            _copy(partial, out)
        return
    try:
        yield partial
        with writing(out):
            if target.exists():
                shutil.copymode(target, partial)
            sync(partial)
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _copy(partial: Path, out: Path | None) -> None:
    if out is None:
        with partial.open(encoding="utf-8", newline="") as stream:
            shutil.copyfileobj(stream, sys.stdout)
        return
    with writing(out), partial.open("rb") as source, out.open("wb") as target:
        shutil.copyfileobj(source, target)


def _answers(predictions: Predictions, layout: Layout) -> Iterable[Answer]:
    return predictions.answers if layout == "short" else plain_rows(predictions.to_arrow(layout))


def _write_json_lines(batches: Iterable[Predictions], partial: Path, layout: Layout, out: Path | None) -> None:
    with writing(out):
        stream = partial.open("w", encoding="utf-8", newline="")
    with stream:
        for predictions in batches:
            with writing(out):
                stream.writelines(
                    json.dumps(answer, ensure_ascii=False) + "\n" for answer in _answers(predictions, layout)
                )


def _write_csv(batches: Iterable[Predictions], partial: Path, layout: Layout, out: Path | None) -> None:
    with writing(out):
        stream = partial.open("w", encoding="utf-8", newline="")
    with stream:
        write = csv_writer(stream)
        for predictions in batches:
            with writing(out):
                for answer in _answers(predictions, layout):
                    write(answer)


def csv_writer(stream: TextIO) -> Callable[[Answer], None]:
    """Return a function that writes an answer as a line of CSV, and the header before the first one."""
    plain = csv.writer(stream, lineterminator="\n")
    # Python quotes of CR and LF only the one that its own line ends hold, and readers end a line at either.
    quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    header: list[str] = []

    def write_row(cells: Iterable[Any]) -> None:
        row = list(cells)
        (quoted if any(isinstance(cell, str) and "\r" in cell for cell in row) else plain).writerow(row)

    def write(answer: Answer) -> None:
        if not header:
            header.extend(answer)
            write_row(header)
        write_row(answer.values())

    return write


def _write_parquet(batches: Iterable[Predictions], partial: Path, layout: Layout, out: Path | None) -> None:
    writer: Any = None
    try:
        for table in _row_groups(batches, layout):
            if writer is None:
                with writing(out):
                    writer = pa_parquet.ParquetWriter(partial, table.schema)
            elif writer.schema != table.schema:
                raise ModelError(
                    f"expected the columns {', '.join(writer.schema.names)}, received {', '.join(table.column_names)}: "
                    "the server changed over to another version in the middle. Choose one with --model-version"
                )
            with writing(out):
                writer.write_table(table)
    finally:
        if writer is not None:
            with writing(out):
                writer.close()


def _row_groups(batches: Iterable[Predictions], layout: Layout) -> Iterator[Any]:
    """Yield tables of one row group each; without any prediction one table without rows."""
    waiting: list[Any] = []
    found = False
    rows = size = 0
    for predictions in batches:
        table = predictions.to_arrow(layout)
        if not table.num_rows:
            continue
        found = True
        waiting.append(table)
        rows, size = rows + table.num_rows, size + table.nbytes
        if rows < ROW_GROUP_ROWS and size < ROW_GROUP_BYTES:
            continue
        whole = pa.concat_tables(waiting, promote_options="default")
        yield whole.slice(0, ROW_GROUP_ROWS)
        rest = whole.slice(ROW_GROUP_ROWS)
        waiting, rows, size = ([rest], rest.num_rows, rest.nbytes) if rest.num_rows else ([], 0, 0)
    if waiting:
        whole = pa.concat_tables(waiting, promote_options="default")
        for start in range(0, whole.num_rows, ROW_GROUP_ROWS):
            yield whole.slice(start, ROW_GROUP_ROWS)
    if not found:
        yield pa.table({SEQUENCE_ID: pa.array([], pa.string())})
