"""TFX's driver for files, with a fingerprint that sees more.

TFX adds up sizes and whole seconds of modification times: a file rewritten within a second at the same size, or two
files that change names, would be served from the cache. On Kubeflow, TFX runs its own driver instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tfx.components.example_gen import driver, input_processor
from tfx.dsl.io import fileio

from noisy_gru.components.sequence_example_gen.files import joined


class FileFingerprint(input_processor.FileBasedInputProcessor):
    """Resolves spans and versions as TFX does; the fingerprint has each file's name, size and time of change."""

    def get_input_fingerprint(self, span: int, version: int | None) -> str | None:
        """TFX's fingerprint, followed by a hash over all files."""
        digest = hashlib.blake2b(digest_size=16)
        for split in self._splits:
            pattern = joined(self._input_base_uri, self.get_pattern_for_span_version(split.pattern, span, version))
            for path in sorted(str(found) for found in fileio.glob(pattern)):
                digest.update(f"{split.name}\0{path}\0{_size_and_change(path)}\n".encode())
        return f"{super().get_input_fingerprint(span, version)},files:{digest.hexdigest()}"


def _size_and_change(path: str) -> str:
    """Bytes, and nanoseconds of the last change; TensorFlow's file systems round the latter to whole seconds."""
    if "://" in path:
        stat = fileio.stat(path)
        return f"{stat.length} {stat.mtime_nsec}"
    local = Path(path).stat()
    return f"{local.st_size} {local.st_mtime_ns}"


class Driver(driver.FileBasedDriver):
    """FileBasedDriver with this fingerprint."""

    def get_input_processor(
        self, splits: Iterable[Any], range_config: Any = None, input_base_uri: str | None = None
    ) -> input_processor.InputProcessor:
        """What resolves the patterns."""
        return FileFingerprint(input_base_uri or "", splits, range_config)
