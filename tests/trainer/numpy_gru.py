"""An independent GRU in NumPy, float64, one sequence and one step at a time: the oracle of the layer's tests.

Written from the equations of Cho et al. (2014), not from Keras' code. The weights come in Keras' layout: the gates in
the order z, r, h along the last axis.
"""

import numpy as np


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def gru_step(x, h, kernel, recurrent_kernel, bias, reset_after):
    """One step of one sequence: x (F,), h (U,) -> the next h (U,)."""
    W_z, W_r, W_h = np.split(kernel, 3, axis=1)
    U_z, U_r, U_h = np.split(recurrent_kernel, 3, axis=1)
    b, c = bias if reset_after else (bias, np.zeros_like(bias))
    b_z, b_r, b_h = np.split(b, 3)
    c_z, c_r, c_h = np.split(c, 3)
    z = sigmoid(x @ W_z + b_z + h @ U_z + c_z)
    r = sigmoid(x @ W_r + b_r + h @ U_r + c_r)
    hh = np.tanh(x @ W_h + b_h + r * (h @ U_h + c_h)) if reset_after else np.tanh(x @ W_h + b_h + (r * h) @ U_h)
    return z * h + (1.0 - z) * hh


def gru(sequences, weights, *, reset_after=True, initial_state=None, mask=None, go_backwards=False):
    """Outputs (B, T, U) in the order of computation, the last output (B, U) and the last state (B, U).

    At a masked step the state stays, and the output is the last one computed, or zeros before the first.
    """
    sequences = np.asarray(sequences, dtype=np.float64)
    kernel, recurrent_kernel, bias = (np.asarray(w, dtype=np.float64) for w in weights)
    batch, steps, _ = sequences.shape
    units = recurrent_kernel.shape[0]
    states = np.zeros((batch, units)) if initial_state is None else np.array(initial_state, dtype=np.float64)
    outputs = np.zeros((batch, steps, units))
    for row in range(batch):
        output = np.zeros(units)
        for position in range(steps):
            step = steps - 1 - position if go_backwards else position
            if mask is None or mask[row, step]:
                states[row] = gru_step(sequences[row, step], states[row], kernel, recurrent_kernel, bias, reset_after)
                output = states[row].copy()
            outputs[row, position] = output
    return outputs, outputs[:, -1], states
