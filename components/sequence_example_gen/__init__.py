"""Ingestion: tables and TFRecords in, one tf.Example per sequence out, nothing lost on the way."""
