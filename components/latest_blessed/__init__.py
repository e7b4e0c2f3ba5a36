"""Find the model that is published now, to compare a new one with."""
