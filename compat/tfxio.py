"""Private names of TFX-BSL's TFXIO and of TFX's module that makes them, as read in TFX-BSL and TFX 1.21
(tfx_bsl/tfxio/tf_example_record.py, tfx/components/util/tfxio_utils.py). Importing this module imports neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

# From file patterns to a Beam transform that reads serialized tf.Examples.
Source = Callable[[list[str]], Any]

_source: ContextVar[Source | None] = ContextVar("source", default=None)


@contextmanager
def examples_read_by(source: Source) -> Iterator[None]:
    """Let TFX's executors that are started here read tf.Examples by another source than of TFRecords.

    They have no argument for it. Executors that run beside, in other threads, read as ever.
    """
    _install()
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)


def _install() -> None:
    """Put a function that asks for the source in the place of TFX's, once."""
    from tfx.components.util import tfxio_utils

    module: Any = tfxio_utils
    original = module.make_tfxio
    if hasattr(original, "asks_for_source"):
        return

    def make_tfxio(file_pattern: Any, telemetry_descriptors: Any, payload_format: Any, **options: Any) -> Any:
        source = _source.get()
        if source is None or options.get("read_as_raw_records"):
            return original(
                file_pattern=file_pattern,
                telemetry_descriptors=telemetry_descriptors,
                payload_format=payload_format,
                **options,
            )
        return _records_class()(
            source,
            file_pattern=file_pattern,
            schema=options.get("schema"),
            raw_record_column_name=options.get("raw_record_column_name"),
            telemetry_descriptors=telemetry_descriptors,
        )

    vars(make_tfxio)["asks_for_source"] = True
    module.make_tfxio = make_tfxio


def _records_class() -> Any:
    from tfx_bsl.tfxio.tf_example_record import TFExampleRecord

    base: Any = TFExampleRecord

    class Records(base):
        """TFExampleRecord of another source."""

        def __init__(self, source: Source, file_pattern: Any, **given: Any) -> None:
            super().__init__(file_pattern=file_pattern, **given)
            self._source = source
            self._files = [file_pattern] if isinstance(file_pattern, str) else file_pattern

        def _RawRecordBeamSourceInternal(self) -> Any:
            return self._source(self._files)

        def _ProjectImpl(self, tensor_names: list[str]) -> Any:
            of_files = super()._ProjectImpl(tensor_names)
            return Records(
                self._source,
                file_pattern=self._files,
                schema=of_files._schema,
                raw_record_column_name=self.raw_record_column_name,
                telemetry_descriptors=self.telemetry_descriptors,
            )

    return Records
