"""Experiments on one's own data: variants of a configuration trained with the same seeds on the same transformed data.

Measured on the eval split; the test split is never read.
"""
