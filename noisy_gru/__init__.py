"""A production TFX pipeline for sequence models built on the noisy GRU.

The rooms at the top of the tree are the subpackages: this folder holds a link to each.
"""
