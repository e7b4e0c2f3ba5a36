"""The data contract: which columns, task, windows and splits a data set has, and its curated schema."""
