"""Ingestion: read tables and TFRecords, write one tf.Example per sequence, and account for every row."""
