"""The spans and files that an ingestion reads, and the checks of its report."""
