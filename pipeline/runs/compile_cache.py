"""XLA's executables kept under the root, so that the next night compiles nothing.

    with compile_cache(root / "work" / "xla"):
        ...  # imports TensorFlow, trains

TensorFlow loads what it finds: a file that a kill cut off fails the training, and a flipped byte may do anything. So
only files are left for it whose hashes a run that ended well has recorded. Executables are of one version of
TensorFlow, one kind of CPU and one setting of XLA's flags: each has a folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from noisy_gru.compat.tensorflow import CACHE_OPTION, XLA_FLAGS
from noisy_gru.registry.published_versions import hash_file
from noisy_gru.storage.atomic_files import write_atomically

logger = logging.getLogger(__name__)

_CPU = Path("/proc/cpuinfo")
_RECORD = "hashes.json"
_MOST_BYTES = 256e6


@contextmanager
def compile_cache(folder: Path) -> Iterator[None]:
    """Let TensorFlow keep XLA's executables in a folder while the context lasts, and record them if it ends well.

    Does nothing where TensorFlow is loaded already, whose flags can't be set any more; where the environment names a
    folder; where the system doesn't say what its CPU is; or where the folder can't be written. For one process at a
    time: hold the root's lock.
    """
    own = _usable(folder)
    if own is None:
        yield
        return
    before = os.environ.get(XLA_FLAGS)
    os.environ[XLA_FLAGS] = f"{before or ''} {CACHE_OPTION}'{own}'".strip()
    try:
        yield
        _record(own)
    finally:
        if before is None:
            del os.environ[XLA_FLAGS]
        else:
            os.environ[XLA_FLAGS] = before


def _usable(folder: Path) -> Path | None:
    """Return the folder of this machine's executables, made and cleaned; None if there can be none."""
    machine, flags = _machine(), os.environ.get(XLA_FLAGS, "")
    # The environment may also name a file of flags.
    is_set = CACHE_OPTION in flags or (flags != "" and not flags.startswith("-"))
    if machine is None or is_set or "tensorflow" in sys.modules:
        return None
    own = folder.absolute() / machine
    if "'" in str(own):  # ends a quoted flag
        return None
    try:
        own.mkdir(parents=True, exist_ok=True)
        _remove_unrecorded(own)
    except OSError as error:
        logger.warning("XLA's executables are not kept: %s: %s", own, error.strerror)
        return None
    return own


def _machine() -> str | None:
    """Return a name for TensorFlow's version, the CPU's instructions and XLA's flags."""
    try:
        features = next(line for line in _CPU.read_text().splitlines() if line.startswith(("flags", "Features")))
        tensorflow = version("tensorflow")
    except (OSError, StopIteration, PackageNotFoundError):
        return None
    kind = hashlib.sha256("\n".join([features, os.environ.get("XLA_FLAGS", "")]).encode()).hexdigest()[:16]
    return f"{tensorflow}-{kind}"


def _files(own: Path) -> list[Path]:
    return [file for file in sorted(own.iterdir()) if file.name != _RECORD]


def _remove_unrecorded(own: Path) -> None:
    """Remove files that are not as a run left them that ended well."""
    try:
        recorded = json.loads((own / _RECORD).read_text())
        recorded = recorded if isinstance(recorded, dict) else {}
    except (OSError, ValueError):
        recorded = {}
    for file in _files(own):
        if recorded.get(file.name) != hash_file(file):
            file.unlink()


def _record(own: Path) -> None:
    """Write the hashes of the newest files that fit into the most bytes, and remove the others."""
    try:
        left, hashes = _MOST_BYTES, {}
        for file in sorted(_files(own), key=lambda file: file.stat().st_mtime_ns, reverse=True):
            left -= file.stat().st_size
            if left < 0:
                file.unlink()
            else:
                hashes[file.name] = hash_file(file)
        write_atomically(own / _RECORD, json.dumps(hashes, indent=1))
    except OSError as error:
        logger.warning("XLA's executables are not kept: %s: %s", own, error.strerror)
