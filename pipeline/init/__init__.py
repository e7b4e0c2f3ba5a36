"""Propose a configuration and a schema from a user's files."""
