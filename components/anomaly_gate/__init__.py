"""Stop a run whose data violates the schema, and explain each anomaly."""
