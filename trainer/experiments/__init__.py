"""One training of an experiment, and what its model answers on eval from other first states than its own."""
