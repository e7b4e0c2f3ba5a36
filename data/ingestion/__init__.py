"""Which spans and files an ingestion reads, and the checks on what came out."""
