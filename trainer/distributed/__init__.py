"""Training on several replicas and on several machines."""
