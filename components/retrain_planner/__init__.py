"""Decide whether to retrain: what is new since the published model, how far it moved, and what speaks against it."""
