"""Retraining on a schedule: planning, running, recording, notifying."""
