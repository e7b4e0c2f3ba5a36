"""The `data.sql` section: rows that a query returns, in place of files."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from noisy_gru.schema.section import Section

SCHEMES = ("duckdb", "sqlite")
_IN_MEMORY = "duckdb:"
_NAMES = "password|passwd|pwd|secret|token|session_token|key_id"
_SECRET = re.compile(rf"(?i)\b(?:{_NAMES})\s*(?:[=:]\s*['\"]?|\s['\"])(?!\$\{{)[^\s'\"$,;)]")
_IN_URL = re.compile(r"://[^/@\s:]*:(?!\$\{)[^/@\s]+@")


class SqlConfig(Section):
    """A query whose result is the data; `duckdb:` needs the extra [sql]."""

    connection: str = Field(
        description="`duckdb:FILE` or `sqlite:FILE`, relative to the configuration file and read only; `duckdb:` alone "
        "has no tables of its own, and reads files, or databases that `prepare` attaches."
    )
    query: str = Field(description="A statement that returns a table: its columns are those of a file.")
    prepare: list[str] = Field(
        default_factory=list,
        description="Statements that DuckDB runs before, such as `LOAD postgres` and `ATTACH '' AS shop (TYPE "
        "postgres)`. `${NAME}` is the environment variable NAME, which holds what is secret.",
    )
    results: str = Field(
        default="query-results",
        description="Folder of the results, relative to the configuration file: Parquet files, named by their content. "
        "A run reads one of them, and so does `noisy-gru runs` afterwards.",
    )
    keep: int = Field(default=10, ge=1, description="How many results are kept there, the newest.")

    @field_validator("connection")
    @classmethod
    def _known(cls, connection: str) -> str:
        scheme, colon, path = connection.partition(":")
        if not colon or scheme not in SCHEMES or (scheme == "sqlite" and not path):
            raise ValueError(
                f"expected duckdb:FILE, duckdb: or sqlite:FILE, received {scheme + ':…' if colon else connection!r}; "
                "DuckDB attaches other databases with prepare"
            )
        return connection

    @field_validator("query")
    @classmethod
    def _not_empty(cls, query: str) -> str:
        if not query.strip(" \t\r\n;"):
            raise ValueError("expected a statement such as SELECT * FROM sales, received none")
        return query

    @field_validator("connection", "query", "prepare")
    @classmethod
    def _no_secrets(cls, value: str | list[str]) -> str | list[str]:
        for text in [value] if isinstance(value, str) else value:
            if _IN_URL.search(text) or (isinstance(value, list) and _SECRET.search(text)):
                # The text may be a secret, so it isn't shown.
                raise ValueError(
                    "expected no secrets, since records and models keep the configuration: write ${NAME} in prepare, "
                    "the name of an environment variable, in place of the password or token"
                )
        return value

    @property
    def is_duckdb(self) -> bool:
        """Whether DuckDB runs the query."""
        return self.connection.startswith(_IN_MEMORY)

    @property
    def database(self) -> str:
        """The database's file; empty for DuckDB without one."""
        return self.connection.partition(":")[2]
