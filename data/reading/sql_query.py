"""Rows of a query: its result as a Parquet file that is named by its content, which ingestion then reads.

So a run reads what its fingerprint says, whatever happens to the database meanwhile, and the planner of retraining
sees new rows as a new file. Rows are sorted, since a database returns them in any order.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from noisy_gru.data.arrow import pa, pa_parquet
from noisy_gru.data.reading.in_memory_tables import to_arrow
from noisy_gru.schema.config import SqlConfig
from noisy_gru.schema.errors import DataError

KEY = "data.sql"
QUERY_ENDING = ".sql"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ROW_GROUP = 1 << 20
_BLOCK = 1 << 20


def query_result(sql: SqlConfig, folder: str | Path, query: str | None = None) -> Path:
    """Run a query, and return the file with its result.

    Args:
        sql: the connection, and the query.
        folder: of results; it is created, and older ones are removed by ``sql.keep``.
        query: another query of the same connection.

    Raises:
        DataError: the database can't be read, the query fails or returns no table, or the folder can't be written.
    """
    table = _sorted(_result(sql, sql.query if query is None else query))
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(".tmp", ".query-", folder)
        os.close(handle)
        try:
            pa_parquet.write_table(table, partial, row_group_size=_ROW_GROUP)
            path = folder / f"query-{_hash(Path(partial))}.parquet"
            if not path.exists():
                Path(partial).replace(path)
            path.touch()
        finally:
            Path(partial).unlink(missing_ok=True)
        for old in _by_age(folder)[sql.keep :]:
            if old != path:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{KEY}.results: {folder} can't be written: {error.strerror}. Name another folder") from error
    return path


def newest_result(sql: SqlConfig) -> Path | None:
    """Return the file of the newest result; None if there is none yet."""
    return next(iter(_by_age(Path(sql.results))), None)


def query_columns(sql: SqlConfig) -> list[str]:
    """Return the columns of the query's result, without reading its rows.

    Raises:
        DataError: as ``query_result``.
    """
    with _reported(sql):
        if sql.is_duckdb:
            with _duckdb(sql) as connection:
                relation = connection.sql(sql.query)
                return [] if relation is None else list(relation.columns)
        with _sqlite(sql) as connection:
            return [each[0] for each in connection.execute(sql.query).description or ()]


def _result(sql: SqlConfig, query: str) -> Any:
    with _reported(sql):
        if sql.is_duckdb:
            with _duckdb(sql) as connection:
                relation = connection.sql(query)
                if relation is None:
                    raise DataError(f"{KEY}.query: expected a statement that returns a table, such as SELECT …")
                return _checked(relation.columns, relation.to_arrow_table())
        with _sqlite(sql) as connection:
            cursor = connection.execute(query)
            names = [each[0] for each in cursor.description or ()]
            if not names:
                raise DataError(f"{KEY}.query: expected a statement that returns a table, such as SELECT …")
            values = list(zip(*cursor, strict=True)) or [()] * len(names)
            # A column of SQLite may mix types: each value is then text, as in a CSV file.
            arrays = [to_arrow(list(column))[0] for column in values]
            return _checked(names, pa.Table.from_arrays(arrays, names))


def _checked(names: list[str], table: Any) -> Any:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{KEY}.query: returns the column {', '.join(twice)} more than once; name one of them AS …")
    return table


def _sorted(table: Any) -> Any:
    """Sort rows by all columns that have an order, the first one first."""
    keys = [
        (field.name, "ascending")
        for field in table.schema
        if not (pa.types.is_nested(field.type) or pa.types.is_null(field.type))
    ]
    return table.sort_by(keys) if keys and table.num_rows else table


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()[:20]


def _by_age(folder: Path) -> list[Path]:
    """Return the results in a folder, the newest first."""
    return sorted(folder.glob("query-*.parquet"), key=lambda path: (-path.stat().st_mtime_ns, path.name))


@contextmanager
def _duckdb(sql: SqlConfig) -> Iterator[Any]:
    try:
        import duckdb
    except ModuleNotFoundError as error:
        raise DataError(
            f"{KEY}.connection: {sql.connection} needs DuckDB, which is not installed: pip install 'noisy-gru-tfx[sql]'"
        ) from error
    if sql.database:
        _check_there(sql)
    # Times with a zone are moments; UTC shows them the same on all machines.
    with duckdb.connect(sql.database or ":memory:", read_only=bool(sql.database)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for statement in sql.prepare:
            connection.execute(_with_environment(statement))
        yield connection


@contextmanager
def _sqlite(sql: SqlConfig) -> Iterator[sqlite3.Connection]:
    _check_there(sql)
    connection = sqlite3.connect(f"{Path(sql.database).absolute().as_uri()}?mode=ro", uri=True)
    try:
        yield connection
    finally:
        connection.close()


def _check_there(sql: SqlConfig) -> None:
    if not Path(sql.database).is_file():
        raise DataError(f"{KEY}.connection: expected a database, but there is no file {sql.database}. Correct the path")


def _with_environment(text: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise DataError(f"{KEY}.prepare: the environment variable {match[1]} is not set. Set it where this runs")
        return os.environ[match[1]].replace("'", "''")

    return _VARIABLE.sub(value, text)


@contextmanager
def _reported(sql: SqlConfig) -> Iterator[None]:
    """Turn the errors of a database into a DataError, without the secrets of the environment."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if not (isinstance(error, sqlite3.Error) or type(error).__module__.lstrip("_").startswith("duckdb")):
            raise
        text = str(error).strip() or type(error).__name__
        for name in {name for statement in sql.prepare for name in _VARIABLE.findall(statement)}:
            if secret := os.environ.get(name):
                text = text.replace(secret, f"${{{name}}}")
        lines = " ".join(line.strip() for line in text.splitlines()[:4] if line.strip())
        raise DataError(f"{KEY}: {sql.connection}: the query can't be run: {lines}") from None
