"""Prediction requests from files and rows, with the parsing and policies of training."""
