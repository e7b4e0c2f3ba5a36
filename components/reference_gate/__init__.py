"""Compare a new model with the published one on a reference set that is never trained on."""
