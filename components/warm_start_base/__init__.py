"""Choose the published model that a training goes on from, and bring its Keras file into the run."""
