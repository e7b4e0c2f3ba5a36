"""Decide whether to retrain, from new data, drift, the model's age and guards."""
