"""Derive the schema of the sequences from the curated schema.pbtxt and the configuration."""
