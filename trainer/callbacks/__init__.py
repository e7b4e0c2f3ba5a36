"""Keras callbacks of the Trainer."""
