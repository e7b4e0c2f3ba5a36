"""Batch prediction: predict files block by block, into one file or a folder of parts that a rerun completes."""
