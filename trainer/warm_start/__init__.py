"""Training that continues from a published model."""
