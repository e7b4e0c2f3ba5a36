"""Rows to sequences: buckets, duplicates, labels, gaps, windows, splits, and their tf.Examples."""
