"""Files and rows to predict from, by the same parsing and policies as in training."""
