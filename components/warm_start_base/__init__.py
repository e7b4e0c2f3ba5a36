"""Chooses the published model that a training goes on from, and brings its Keras file into the run."""
