"""Stops a run whose data isn't as the schema says, and explains each anomaly in words."""
