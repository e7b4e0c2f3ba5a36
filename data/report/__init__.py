"""The ingestion report and the quarantine: counts of all rows and sequences, and the ones that were rejected."""
