"""A Keras GRU that loops over the steps with `fused_gru` where that computes the same."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from noisy_gru.trainer.layers.fused_gru import Weights, fused_gru, shared_start_step
from noisy_gru.trainer.layers.noisy_gru_arguments import bool_mask


class FusableGRU(keras.layers.GRU):
    """`keras.layers.GRU` with the loop of `fused_gru`, factors on the state, and states that sequences share.

    `NoisyGRU` documents the arguments; this class is not registered, and no model holds it.

    Args:
        units: int > 0, size U of the hidden state.
        fused: bool, whether `fused_gru` may take the place of the stock loop.
        decays: bool, whether the last U channels of the sequences are factors on the state.
        **gru_arguments: those of `keras.layers.GRU`.

    Raises:
        ValueError: `fused` is no Boolean, or `decays` comes with what `fused_gru` does not support.
    """

    def __init__(self, units: int, *, fused: bool, decays: bool, **gru_arguments: Any):
        if not isinstance(fused, bool):
            raise ValueError(f"Argument `fused` must be True or False. Received: fused={fused!r}")
        super().__init__(units, **(gru_arguments | ({"use_cudnn": False} if decays else {})))
        self.supports_masking = True
        self.fused = fused
        self.decays = decays
        if decays and (self.go_backwards or self.stateful or not self._fits_fused):
            raise ValueError(
                "Argument `decays=True` needs `fused=True` and a configuration that it supports, read forward and not "
                f"`stateful`. Received: fused={fused}, {gru_arguments}"
            )

    def build(self, sequences_shape, initial_state_shape=None):
        if self.decays:
            sequences_shape = (*sequences_shape[:-1], sequences_shape[-1] - self.units)
        super().build(sequences_shape, initial_state_shape)
        if self._fits_fused:
            # The stock layer disables it wherever cuDNN might run.
            self.supports_jit = True

    def inner_loop(self, sequences, initial_state, mask, training=False):
        states = initial_state if isinstance(initial_state, (list, tuple)) else [initial_state]
        mask = bool_mask(mask, sequences)
        if not self._runs_fused(sequences, mask):
            return super().inner_loop(sequences, initial_state, mask, training=training)
        last, outputs, state = self._fused_loop(
            sequences, states[0], mask, training=bool(training), return_sequences=self.return_sequences
        )
        return last, outputs, [state]

    def get_config(self):
        # The stock layer leaves out use_cudnn and implementation; a reloaded layer should compute as the saved one.
        return {
            **super().get_config(),
            "fused": self.fused,
            "decays": self.decays,
            "use_cudnn": self.use_cudnn,
            "implementation": self.cell.implementation,
        }

    def _final_states(self, sequences: Any, start: Any, mask: Any) -> Any:
        """Return the states that the sequences end with, read as in inference, (B, U)."""
        mask = bool_mask(mask, sequences)
        if not self._runs_fused(sequences, mask):
            return super().inner_loop(sequences, [start], mask, training=False)[2][0]
        return self._fused_loop(sequences, start, mask, training=False, return_sequences=False)[2]

    def _from_shared_states(self, sequences: Any, states: Any, mask: Any, training: Any, repeats: int) -> Any:
        """Return the outputs of sequences of which `repeats` beside each other start from one row of `states`."""
        if states is None or mask is not None or self.stateful:
            raise ValueError(
                "Argument `repeats` of a NoisyGRU's call needs an `initial_state`, no mask, and `stateful=False`. "
                f"Received: repeats={repeats}"
            )
        states = states[0] if isinstance(states, (list, tuple)) else states
        if sequences.shape[1] == 1 and self._is_fusable(sequences) and not (training and self.dropout):
            last = shared_start_step(sequences, states, self._loop_weights(), repeats)
            outputs = last[:, tf.newaxis] if self.return_sequences else last
            return (outputs, last) if self.return_state else outputs
        times = ops.shape(states)[0] * repeats // ops.shape(sequences)[0]  # pyright: ignore[reportOptionalSubscript]
        sequences = tf.tile(sequences, [times] + [1] * (len(sequences.shape) - 1))
        return super().call(sequences, initial_state=ops.repeat(states, repeats, axis=0), training=training)

    def _fused_loop(self, sequences: Any, state: Any, mask: Any, *, training: bool, return_sequences: bool) -> Any:
        """Return the last output, all outputs and the last state, as `fused_gru` computes them."""
        decay = None
        if self.decays:
            sequences, decay = sequences[..., : -self.units], sequences[..., -self.units :]
        if training and self.dropout:
            # As the stock layer: one mask for all steps.
            sequences = sequences * ops.expand_dims(self.cell.get_dropout_mask(sequences[:, 0, :]), 1)
        return fused_gru(
            sequences,
            state,
            mask,
            self._loop_weights(),
            go_backwards=self.go_backwards,
            training=training,
            zero_masked=self.zero_output_for_mask,
            return_sequences=return_sequences,
            decay=decay,
        )

    def _runs_fused(self, sequences: Any, mask: Any) -> bool:
        """Return whether `fused_gru` takes these; the stock loop also takes a mask for each unit, (B, T, U)."""
        runs = self._is_fusable(sequences) and (mask is None or len(mask.shape) == 2)
        if self.decays and not runs:
            raise ValueError(
                "A NoisyGRU with `decays` takes sequences of its own dtype, and a mask of shape (B, T) or (B, T, 1)"
            )
        return runs

    def _is_fusable(self, sequences: Any) -> bool:
        return self._fits_fused and self.compute_dtype == sequences.dtype

    @property
    def has_fused_equations(self) -> bool:
        """Whether the loops of this package may run the layer, and its equations are theirs."""
        cell = self.cell
        return (
            self.fused
            and cell.reset_after
            and cell.use_bias
            and cell.activation is keras.activations.tanh
            and cell.recurrent_activation is keras.activations.sigmoid
        )

    @property
    def _fits_fused(self) -> bool:
        """Whether `fused_gru` supports this configuration; the stock layer runs everything else."""
        return (
            self.has_fused_equations
            and not (self.cell.recurrent_dropout or self.unroll)
            and self.use_cudnn is not True
            and self.compute_dtype == self.variable_dtype
            and self.compute_dtype in ("float32", "float64")
            and not (self.use_cudnn == "auto" and tf.config.list_logical_devices("GPU"))
        )

    def _loop_weights(self) -> Weights:
        cell = self.cell
        return Weights(*map(tf.convert_to_tensor, (cell.kernel, cell.recurrent_kernel, cell.bias)))
