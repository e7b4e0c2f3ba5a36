"""Makes TFX's cache of `WarmStartBase` depend on the version that is chosen."""

from __future__ import annotations

from typing import Any

from tfx.dsl.components.base import base_driver
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.proto.orchestration import driver_output_pb2

from noisy_gru.components.warm_start_base.executor import CHOSEN, chosen_version

# Generated code, of which type checkers see nothing.
_proto: Any = driver_output_pb2


class Driver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Puts the chosen version's identity among the execution properties, which are the cache's key."""

    def __init__(self, mlmd_connection: Any) -> None:
        base_driver.BaseDriver.__init__(self, mlmd_connection)
        portable_base_driver.BaseDriver.__init__(self, mlmd_connection)

    def run(self, execution_info: Any) -> Any:
        """The driver's answer (``DriverOutput``): the property `chosen`."""
        base = chosen_version(execution_info.input_dict, execution_info.exec_properties)
        result = _proto.DriverOutput()
        result.exec_properties[CHOSEN].string_value = base.identity
        return result
