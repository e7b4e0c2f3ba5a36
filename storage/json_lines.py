"""Logs of one JSON object per line, which are only appended to and survive a kill in the middle of a line.

>>> append_record(folder / "history.jsonl", Event(...))  # doctest: +SKIP
>>> read_records(folder / "history.jsonl", Event)  # doctest: +SKIP
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

Record = TypeVar("Record")


def append_record(path: Path, record: Any) -> None:
    """Append a dataclass as a line, on disk when this returns; after a torn line, on a new one.

    Raises:
        OSError: the file can't be written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        line = ("\n" if torn else "") + json.dumps(asdict(record), ensure_ascii=False) + "\n"
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_records(path: Path, kind: type[Record]) -> list[Record]:
    """Return the records of a log, oldest first; none if there is no file.

    Lines that are not a ``kind`` (torn by a kill, or edited by hand) are skipped, and so are keys that it doesn't have.

    Args:
        path: the log.
        kind: a dataclass; the types of its fields are checked strictly.
    """
    if not path.is_file():
        return []
    adapter = TypeAdapter(kind)
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            records.append(adapter.validate_json(line, strict=True))
        except ValidationError:
            continue
    return records
