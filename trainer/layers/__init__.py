"""The noisy GRU layer, its fused path and its noise."""
