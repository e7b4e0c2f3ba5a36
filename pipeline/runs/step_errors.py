"""What an exception of a step says to a person: the words of the UserError at its root, wherever they come from."""

from __future__ import annotations

import re
from collections.abc import Iterator

from noisy_gru.schema.errors import UserError

# Beam tells of an exception in a worker as text: the type, the message, and the stage.
_IN_BEAM = re.compile(r"noisy_gru\.[\w.]*\.(\w*Error): (.*?)(?: \[while running |\Z)", re.DOTALL)

# A job server tells of a job that failed with the whole traceback; the last exception in it is the cause.
_JOB_FAILED = re.compile(r"Pipeline \S+ failed in state \w+: ")
_CAUSE = re.compile(r"^[\w.]*(?:Error|Exception)\b.*", re.MULTILINE)
_RPC_DETAILS = re.compile(r'^\s*details = "(.*)"', re.MULTILINE)

# What the system, TensorFlow and SQLite, below ML Metadata, say where nothing can be written.
_NO_PLACE = re.compile(r"No space left on device|Disk quota exceeded|database or disk is full")
_READ_ONLY = re.compile(r"Read-only file system|attempt to write a readonly database")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def error_message(error: Exception) -> str:
    """The message for a person: that of the UserError at the root of it, if there is one."""
    for each in _chain(error):
        if isinstance(each, UserError):
            return str(each)
    told = _IN_BEAM.search(str(error))
    if told:
        return told.group(2).strip()
    if (refused := _disk(error)) is not None:
        return f"{refused} ({type(error).__name__}: {error})"
    if _JOB_FAILED.match(str(error)):
        causes = _RPC_DETAILS.findall(str(error)) or _CAUSE.findall(str(error)) or [str(error)]
        return f"the job failed on the job server: {causes[-1]}"
    return f"{type(error).__name__}: {error}"


def is_expected(error: Exception) -> bool:
    """Whether there is a UserError at the root of it."""
    if any(isinstance(each, UserError) for each in _chain(error)):
        return True
    return _IN_BEAM.search(str(error)) is not None or _disk(error) is not None


def _disk(error: Exception) -> str | None:
    """What a disk refuses, and what to do; None if it is something else."""
    told = " ".join(map(str, _chain(error)))
    if _NO_PLACE.search(told):
        return "the disk is full: make room, then run it again; it goes on from the last finished step"
    if _READ_ONLY.search(told):
        return "the disk can't be written: mount it for writing, then run it again"
    return None
