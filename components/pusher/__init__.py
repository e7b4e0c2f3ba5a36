"""Publish a blessed model for TF Serving: atomically, never over another version, with its lineage."""
