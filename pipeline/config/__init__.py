"""The configuration file: models, loading, checks and error messages."""
