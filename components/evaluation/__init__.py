"""Metrics, thresholds and paired comparisons of TFX's Evaluator on the test split."""
