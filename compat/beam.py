"""Private names of Beam, as read in Beam 2.77 (apache_beam/options/pipeline_options.py,
apache_beam/runners/portability/fn_api_runner/fn_runner.py, apache_beam/io/filesystem.py).

Importing this module imports no Beam.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def share_options(one: Any, other: Any) -> bool:
    """Return whether two ``PipelineOptions`` are views of the same options: setting one of them changes both."""
    return one._all_options is other._all_options


@contextmanager
def gzipped_by(make: Callable[[], Any]) -> Iterator[None]:
    """Let files that Beam gzips in the block, in this process, be compressed by another object.

    Args:
        make: returns an object as ``zlib.compressobj``, for each file.
    """
    from apache_beam.io.filesystem import CompressedFile, CompressionTypes

    file_class: Any = CompressedFile
    plain = file_class._initialize_compressor

    def initialize(file: Any) -> None:
        if file._compression_type == CompressionTypes.GZIP:
            file._compressor = make()
        else:
            plain(file)

    file_class._initialize_compressor = initialize
    try:
        yield
    finally:
        file_class._initialize_compressor = plain


def worker_of(manager: Any) -> Any:
    """Return the handler of the worker that a ``BundleManager`` has chosen; None before it has."""
    return manager._worker_handler
