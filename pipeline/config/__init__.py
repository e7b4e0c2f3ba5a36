"""The configuration file: its models, loading, checks and messages."""
