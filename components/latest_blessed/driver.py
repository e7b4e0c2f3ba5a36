"""Makes TFX's cache of `LatestBlessed` depend on what is published now."""

from __future__ import annotations

from typing import Any

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.proto.orchestration import driver_output_pb2

from noisy_gru.components.latest_blessed.executor import LATEST, chosen

# Generated code, of which type checkers see nothing.
_proto: Any = driver_output_pb2


class Driver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Puts the published model's identity among the execution properties, which are the cache's key.

    So the answer is never out of date, and steps that follow an unchanged one may still be cached.
    """

    def __init__(self, mlmd_connection: Any) -> None:
        base_driver.BaseDriver.__init__(self, mlmd_connection)
        portable_base_driver.BaseDriver.__init__(self, mlmd_connection)

    def run(self, execution_info: Any) -> Any:
        """The driver's answer (``DriverOutput``): the property `latest`."""
        latest = chosen(execution_info.input_dict, execution_info.exec_properties)
        result = _proto.DriverOutput()
        result.exec_properties[LATEST].string_value = latest.identity
        return result
