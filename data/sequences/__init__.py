"""Rows to sequences: buckets, gaps, windows, splits, and their tf.Examples."""
