"""What became of every row and sequence: the ingestion report and the quarantine."""
