"""Keeps the Pusher out of TFX's cache: a served version may have been removed or withdrawn since."""

from __future__ import annotations

import uuid
from typing import Any

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.proto.orchestration import driver_output_pb2

from noisy_gru.components.pusher.executor import NONCE

# Generated code, of which type checkers see nothing.
_proto: Any = driver_output_pb2


class Driver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Gives every execution an execution property of its own, which is part of the cache's key.

    Pushing the same model again publishes nothing new, so this costs no more than hashing its files.
    """

    def __init__(self, mlmd_connection: Any) -> None:
        base_driver.BaseDriver.__init__(self, mlmd_connection)
        portable_base_driver.BaseDriver.__init__(self, mlmd_connection)

    def run(self, execution_info: Any) -> Any:
        """The driver's answer (``DriverOutput``): the property `nonce`."""
        result = _proto.DriverOutput()
        result.exec_properties[NONCE].string_value = uuid.uuid4().hex
        return result
