"""Keeps the planner out of TFX's cache: data, published models and attempts change, and so does the time."""

from __future__ import annotations

from noisy_gru.components.pusher import driver


class Driver(driver.Driver):
    """The Pusher's: an execution property of its own for every execution."""
