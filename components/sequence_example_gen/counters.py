"""Names of the counters of ingestion, by which a run shows how far it is (`compat/beam_counters.py`)."""

# Rows read; bytes of the files that were read, where a file is read from its beginning to its end.
ROWS, FILE_BYTES = "rows", "file_bytes"
# Bytes of the chunks that were read; of those whose sequences are written.
CHUNK_BYTES, WRITTEN_BYTES = "chunk_bytes", "written_bytes"
