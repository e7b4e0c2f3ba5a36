"""Transformed sequences as batches."""
