"""The noisy GRU, the model around it, and the TFX module file that trains and exports it."""
