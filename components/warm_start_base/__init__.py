"""Choose the published model of a warm start, and copy its Keras file into the run."""
