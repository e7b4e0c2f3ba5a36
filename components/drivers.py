"""TFX drivers that decide on the cache: each sets an execution property, which is part of the cache key."""

from __future__ import annotations

import uuid
from typing import Any

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.proto.orchestration import driver_output_pb2

NONCE = "nonce"
# Generated code, of which type checkers see nothing.
_proto: Any = driver_output_pb2


class PropertyDriver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Set one execution property; equal values are served from the cache.

    TFX checks for the first base class, and its local orchestrator and ours call the second one's ``run``.
    """

    PROPERTY = ""

    def __init__(self, mlmd_connection: Any) -> None:
        base_driver.BaseDriver.__init__(self, mlmd_connection)
        portable_base_driver.BaseDriver.__init__(self, mlmd_connection)

    def value(self, execution_info: Any) -> str:
        """Return the property's value for this execution."""
        raise NotImplementedError

    def run(self, execution_info: Any) -> Any:
        """Return a ``DriverOutput`` with the property."""
        output = _proto.DriverOutput()
        output.exec_properties[self.PROPERTY].string_value = self.value(execution_info)
        return output


class UncachedDriver(PropertyDriver):
    """Run a step every time, for what depends on more than its inputs: served versions, other files, the time."""

    PROPERTY = NONCE

    def value(self, execution_info: Any) -> str:
        """Return a value that no other execution has."""
        return uuid.uuid4().hex
