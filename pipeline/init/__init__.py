"""Infer a configuration and a schema from data files."""
