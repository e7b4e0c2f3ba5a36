"""Turn exceptions of steps into messages: that of the UserError at the root, and remedies for a full disk."""

from __future__ import annotations

import re
from collections.abc import Iterator

from noisy_gru.schema.errors import UserError

# Beam reports an exception of a worker as text: type, message and stage.
_IN_BEAM = re.compile(r"noisy_gru\.[\w.]*\.(\w*Error): (.*?)(?: \[while running |\Z)", re.DOTALL)

# A job server reports a failed job with the whole traceback; the last exception in it is the cause.
_JOB_FAILED = re.compile(r"Pipeline \S+ failed in state \w+: ")
_CAUSE = re.compile(r"^(?:Caused by: )?([\w.$]*(?:Error|Exception)\b.*)", re.MULTILINE)
_RPC_DETAILS = re.compile(r'^\s*details = "(.*)"', re.MULTILINE)

# What Flink says of its own limits, and the remedy.
_FLINK_LIMITS = (
    (
        re.compile(r"Insufficient number of network buffers"),
        "the TaskManagers have too little memory for exchanges: in Flink's configuration, lower "
        "taskmanager.network.sort-shuffle.min-buffers (512) to 64, or raise taskmanager.memory.network.min and .max",
    ),
    (
        re.compile(r"NoResourceAvailableException|Could not acquire the minimum required resources"),
        "the cluster has too few free slots: start more TaskManagers, raise taskmanager.numberOfTaskSlots, or lower "
        "beam.parallelism",
    ),
    (
        re.compile(r"Recovery is suppressed by NoRestartBackoffTimeStrategy"),
        "Flink doesn't restart failed tasks: set restart-strategy.type: fixed-delay in its configuration",
    ),
)

# Messages of the system, TensorFlow and SQLite for a disk that can't be written.
_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded|database or disk is full")
_READ_ONLY = re.compile(r"Read-only file system|attempt to write a readonly database")


# Of ML Metadata's clients, where the server ends a connection in the middle of a call; PostgreSQL's may give no reason.
_LOST = re.compile(
    r"mysql_query failed: .*(?:Lost connection|gone away|shutdown in progress|was killed)"
    r"|PostgreSQL metadata source error: (?:\Z|.*(?:terminating connection|server closed the connection))"
)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def error_message(error: Exception) -> str:
    """Return the message of an exception: that of the UserError at its root, if there is one."""
    for each in _chain(error):
        if isinstance(each, UserError):
            return str(each)
    in_beam = _IN_BEAM.search(str(error))
    if in_beam:
        return in_beam.group(2).strip()
    if (problem := _disk_problem(error)) is not None:
        return f"{problem} ({type(error).__name__}: {error})"
    if _JOB_FAILED.match(str(error)):
        causes = _RPC_DETAILS.findall(str(error)) or _CAUSE.findall(str(error)) or [str(error)]
        remedies = [f" ({remedy})" for limit, remedy in _FLINK_LIMITS if limit.search(str(error))]
        return f"the job failed on the job server: {causes[-1]}{''.join(remedies[:1])}"
    return f"{type(error).__name__}: {error}"


def is_expected(error: Exception) -> bool:
    """Return whether an exception is due to the user, the disk or a server, so that its traceback is of no use."""
    if any(isinstance(each, UserError) for each in _chain(error)):
        return True
    return _IN_BEAM.search(str(error)) is not None or _disk_problem(error) is not None


def _disk_problem(error: Exception) -> str | None:
    """Return the problem of the disk, or of a server, and its remedy; None for other errors."""
    each = [str(link) for link in _chain(error)]
    messages = " ".join(each)
    if _NO_SPACE.search(messages):
        return "the disk is full: free some space, then run it again; it resumes after the last finished step"
    if any(map(_LOST.search, each)):
        return "the server of ML Metadata ended the connection: run it again; it resumes after the last finished step"
    if _READ_ONLY.search(messages):
        return "the disk is read-only: mount it for writing, then run it again"
    return None
