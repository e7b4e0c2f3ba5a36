"""Backtest of a forecast: rolling origins, with intervals against baselines."""
