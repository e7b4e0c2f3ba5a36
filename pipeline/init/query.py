"""Propose a configuration from the result of a query: `data.sql` in place of files.

>>> sql = query_of("SELECT * FROM sales", "sqlite:shop.sqlite", [])
>>> propose_query(sql, out=Path("my-model"))  # doctest: +SKIP
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from noisy_gru.data.reading.sql_query import QUERY_ENDING, query_result
from noisy_gru.pipeline.init.proposal import Proposal, propose
from noisy_gru.schema.config import SqlConfig
from noisy_gru.schema.errors import ConfigError, DataError


def query_of(query: str, connection: str, prepare: Sequence[str]) -> SqlConfig:
    """Return the section of a statement, or of one in a file; a database's file is relative to the current folder.

    Raises:
        ConfigError: the connection is no such, a statement holds a secret, or the file can't be read.
    """
    if query.strip().lower().endswith(QUERY_ENDING) and len(query.split()) == 1:
        try:
            query = Path(query.strip()).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--query {query}: the file can't be read: {error}") from error
    try:
        return SqlConfig(connection=connection, query=query.strip(), prepare=list(prepare))
    except ValidationError as error:
        problems = [f"--{each['loc'][0]}: {each['msg'].removeprefix('Value error, ')}" for each in error.errors()]
        raise ConfigError("; ".join(problems)) from None


def propose_query(sql: SqlConfig, *, out: Path, **given: Any) -> Proposal:
    """Infer a configuration and a schema from the rows that a query returns; options as those of ``propose``.

    Raises:
        ConfigError: as ``propose``; or the query can't be run, or returns no rows.
    """
    with tempfile.TemporaryDirectory(prefix="noisy-gru-init-") as folder:
        try:
            path = query_result(sql, folder)
        except DataError as error:
            raise ConfigError(f"--query: {error}") from error
        return propose([str(path)], out=out, query=_seen_from(sql, out), **given)


def _seen_from(sql: SqlConfig, out: Path) -> SqlConfig:
    """Return the section as the configuration in a folder has it."""
    if not sql.database:
        return sql
    scheme, _, database = sql.connection.partition(":")
    return sql.model_copy(update={"connection": f"{scheme}:{os.path.relpath(database, out.absolute())}"})
