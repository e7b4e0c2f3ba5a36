"""Retraining: plan, run, record and notify, once or on a schedule."""
