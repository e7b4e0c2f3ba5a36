"""Stop a run whose data isn't as the schema says, and explain each anomaly."""
