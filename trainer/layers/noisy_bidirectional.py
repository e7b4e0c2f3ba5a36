"""A bidirectional noisy GRU with a mean of the first state for each direction."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="noisy_gru")
class NoisyBidirectional(keras.layers.Bidirectional):
    """Keras' `Bidirectional` of a `NoisyGRU`, with a mean of the first state for each direction.

    Each direction is always called as a layer. Keras' own calls cuDNN past its two layers on a GPU, if there is no
    mask: then nothing would add the noise.

    Args:
        layer: a `NoisyGRU`.
        **arguments: those of `keras.layers.Bidirectional`.

    Call arguments:
        sequences, initial_state, mask, training: as in `keras.layers.Bidirectional`.
        initial_mean: float tensor of shape (B, 2U), or None for 0: the forward layer's `initial_mean`, then the
            backward layer's.

    Raises:
        ValueError: `initial_mean` has another shape, or as `NoisyGRU` raises it.
    """

    def build(self, sequences_shape, initial_state_shape=None, initial_mean_shape=None):
        super().build(sequences_shape, initial_state_shape)

    def compute_output_shape(self, sequences_shape, initial_state_shape=None, initial_mean_shape=None):
        return super().compute_output_shape(sequences_shape, initial_state_shape)

    def call(self, sequences, initial_state=None, mask=None, training=None, initial_mean=None):
        starts: list[dict[str, Any]] = [{}, {}]
        if initial_state is not None:
            half = len(initial_state) // 2
            starts = [{"initial_state": initial_state[:half]}, {"initial_state": initial_state[half:]}]
        if initial_mean is not None:
            for start, mean in zip(starts, self._means(initial_mean), strict=True):
                start["initial_mean"] = mean
        forward, backward = (
            layer(sequences, mask=mask, training=training, **start)
            for layer, start in zip((self.forward_layer, self.backward_layer), starts, strict=True)
        )
        states: tuple[Any, ...] = ()
        if self.return_state:
            states = (*forward[1:], *backward[1:])
            forward, backward = forward[0], backward[0]
        if self.return_sequences:
            backward = ops.flip(backward, axis=1)
        merged = self._merged(forward, backward)
        if not states:
            return merged
        return (*merged, *states) if self.merge_mode is None else (merged, *states)

    def _means(self, initial_mean: Any) -> list[Any]:
        means: Any = ops.convert_to_tensor(initial_mean)
        units = self.forward_layer.units
        if len(means.shape) != 2 or means.shape[1] != 2 * units:
            raise ValueError(
                "Argument `initial_mean` must have the shape (batch, 2 * units), the forward layer's first. Expected: "
                f"(batch, {2 * units}). Received: {tuple(means.shape)}"
            )
        return [means[:, :units], means[:, units:]]

    def _merged(self, forward: Any, backward: Any) -> Any:
        if self.merge_mode is None:
            return forward, backward
        if self.merge_mode == "concat":
            return ops.concatenate([forward, backward], axis=-1)
        if self.merge_mode == "mul":
            return forward * backward
        total = forward + backward
        return total / 2 if self.merge_mode == "ave" else total
