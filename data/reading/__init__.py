"""Read files and in-memory tables as blocks of canonical columns."""
