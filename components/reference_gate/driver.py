"""Keeps the ReferenceGate out of TFX's cache, whose key knows nothing of the content of the reference files."""

from __future__ import annotations

from noisy_gru.components.pusher import driver


class Driver(driver.Driver):
    """The Pusher's: an execution property of its own for every execution."""
