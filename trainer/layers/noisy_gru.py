"""The noisy GRU: a Keras GRU whose training sequences start from a random hidden state.

>>> import keras
>>> from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
>>> stack = keras.Sequential([
...     NoisyGRU(64, stddev=0.1, return_sequences=True),
...     NoisyGRU(32, stddev=0.05, return_sequences=True),
...     NoisyGRU(16, stddev=0.025),
... ])
>>> stack(keras.random.normal((32, 20, 10)), training=True).shape
TensorShape([32, 16])
"""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from noisy_gru.trainer.layers.fusable_gru import FusableGRU
from noisy_gru.trainer.layers.initial_noise import (
    CARRIED,
    LARGEST_RESIDUAL,
    NOISES,
    carried_states,
    unit_noise,
    with_residual,
)
from noisy_gru.trainer.layers.noise_seeds import NoiseSeedGenerator, noise_seed
from noisy_gru.trainer.layers.noisy_gru_arguments import check_scale, checked_mean, checked_stddev
from noisy_gru.trainer.layers.threefry import random_bits

# Weights that only training reads.
LOG_STDDEV, RESIDUAL_VARIANCE = "log_stddev", "residual_variance"


@keras.saving.register_keras_serializable(package="noisy_gru")
class NoisyGRU(FusableGRU):
    r"""Gated recurrent unit that starts each training sequence from a noisy hidden state.

    The first state of sequence `b` is

        h[b, 0] = m + f[b] + s * e[b]      in training,      e[b] ~ D, independent for every b, unit and call
        h[b, 0] = m + f[b]                 in inference

    where `m` is the weight `initial_mean` if `learn_mean`, else 0; `f[b]` is row b of the call argument `initial_mean`
    if there is one, else 0 (a function of the sequence's static features, say); `s` is `current_stddev`; and `D` has
    mean 0 and standard deviation 1: the normal law, the normal law cut at +-2 and rescaled by 1 / 0.8796 so that it has
    standard deviation 1 again, or the uniform law on [-sqrt(3), sqrt(3)]. With `scale` other than "fixed" each unit u
    has a scale of its own in place of `s`, times `current_stddev / stddev`:

        learned     s[u] = exp(log_stddev[u]), a trainable weight: d loss / d s[u] = sum over b of e[b, u] g[b, u]
        residual    s[u] = min(sqrt(residual_variance[u]), 1), which follows the mean over the batch of (B g[b, u])^2

    where g[b] = d loss / d h[b, 0] and the loss is the mean over the B sequences. Both begin with `stddev`.

    With `noise="carried"` there is no noise but a wrong start: a part `share` of the training sequences, times
    `current_stddev / stddev`, starts from the state that another sequence of the batch ends with, read from its own
    mean without dropout; the others start from their mean. No gradient reaches the other sequence, and none starts
    from its own end. Every step then is `keras.layers.GRU`'s:

        z[t]  = recurrent_activation(x[t] W_z + b_z + h[t-1] U_z + c_z)            update gate
        r[t]  = recurrent_activation(x[t] W_r + b_r + h[t-1] U_r + c_r)            reset gate
        hh[t] = activation(x[t] W_h + b_h + r[t] * (h[t-1] U_h + c_h))             reset_after=True
        hh[t] = activation(x[t] W_h + b_h + (r[t] * h[t-1]) U_h)                   reset_after=False, no c
        h[t]  = z[t] * h[t-1] + (1 - z[t]) * hh[t]

    with `kernel` = [W_z W_r W_h], `recurrent_kernel` = [U_z U_r U_h] and `bias` = [b; c] (only b without
    `reset_after`): the gates stand in Keras' order z, r, h, and z near 1 KEEPS the old state, as in Cho et al.
    (other libraries order r, z, h, or let z replace the state).

    The layer adds one idea: the noise becomes the `initial_state` of the stock layer, so cuDNN, masks, `return_state`,
    `go_backwards`, `unroll`, dropout and mixed precision are the stock layer's. With `stddev=0` it equals
    `keras.layers.GRU`: to rounding if `fused`, else bit for bit, in training too.

    With `fused` the loop over the steps is that of `fused_gru`, which computes the same in fewer, larger products and
    has a gradient of its own. Where it does not fit (cuDNN on a GPU, other activations, no bias, `reset_after=False`,
    `recurrent_dropout`, `unroll`, mixed precision) the stock layer's loop runs.

    - A caller's `initial_state` wins: no noise is added to it. Noise is added to a caller's `initial_mean`, whose
      gradient is that of the first state: d loss / d f[b] = d loss / d h[b, 0].
    - `NoisyBidirectional` takes an `initial_mean` for each direction; Keras' `Bidirectional` doesn't pass it on.
    - `stateful=True` keeps its meaning: a batch goes on from where the last one ended, so it gets no noise.
      `reset_state()` goes back to the mean; call it after `set_weights` if `learn_mean`.
    - The noise leaves no random op, no seed and no stddev in an inference graph: it is under a Python `if training:`.
      The stock layer's dropout does leave its masks' ops there, so the export is built without dropout.
      `training` must therefore be a Python Boolean or None, never a tensor.
    - `TimeDistributed` over a time axis of unknown size traces its layer once for all steps (`vectorized_map`), so all
      steps of a sequence get the same noise, as they get the same mask of the stock dropout. Give the axis a size
      to have independent draws (Keras 3.15 reads such an axis only as far as the batch has rows, anyway).

    Args:
        units: int > 0, size U of the hidden state.
        stddev: finite number >= 0, standard deviation of the first state. It is the reference scale, kept in the
            config; `current_stddev` is the value in effect.
        noise: law of the first state, one of "normal", "truncated_normal", "uniform", "carried". With "carried" the
            size of `stddev` has no meaning, but that 0 switches it off.
        seed: int or None. The same seed gives the same draws, call by call, so give every layer a seed of its own.
            None draws one from Keras' global seed (`keras.utils.set_random_seed`). It also seeds the dropout, with
            independent draws. `Bidirectional` copies the seed; its two directions still draw independently.
        learn_mean: bool, whether `m` is a trainable weight of shape (U,), zeros at first.
        fused: bool, whether `fused_gru` may take the place of the stock loop.
        scale: what the scale of the noise follows, one of "fixed", "learned", "residual"; the latter two need a
            `stddev` above 0, and a law other than "carried".
        share: number in (0, 1], of "carried".
        carry_seed: int or None, of "carried" in place of `seed`: layers with the same one carry the states of the same
            sequences, as a stream that goes on does.
        residual_momentum: part of the residual variance that a batch leaves, in [0, 1).
        decays: bool, whether the last U channels of the sequences are factors d on the state (GRU-D): the step goes on
            from d[t] * h[t-1]. It needs what `fused` needs, and is computed without cuDNN.
        **gru_arguments: those of `keras.layers.GRU`.

    Call arguments:
        sequences: float tensor of shape (B, T, F); B and T may be unknown.
        initial_state: tensor of shape (B, U), or a list holding one; None for the states above.
        mask: tensor of shape (B, T) or (B, T, 1), of any dtype that casts to bool, True (not 0) where a step counts. A
            row without any True step leaves the state at h[b, 0] and gives zeros as output, as in the stock layer.
        training: Python Boolean or None (as False).
        initial_mean: float tensor of shape (B, U), or None for 0: the f above.
        repeats: int >= 1 or None: with an `initial_state` of S rows and no mask, B is S * repeats, and each row of the
            state starts `repeats` sequences beside each other. There may be fewer sequences, a multiple of `repeats`
            that divides B; they are then repeated as a whole. One step computes the product with a state once.

    Returns:
        (B, U), or (B, T, U) if `return_sequences`, in the layer's compute dtype; with `return_state` a pair of that
        and the last state (B, U). The noise itself is drawn in float32 (float64 for a float64 layer), then cast.

    Raises:
        ValueError: `stddev` is not a finite number >= 0, `noise` not one of the laws, `learn_mean` or `fused` no
            Boolean, `scale`, `share` or `residual_momentum` not as above; the mask has another number of steps than
            the sequences; or `initial_mean` has another shape than (B, U), comes with an `initial_state`, or is given
            to a `stateful` layer.
        RuntimeError: Keras runs on another backend than TensorFlow.

    Weights: `kernel` (F, 3U), `recurrent_kernel` (U, 3U), `bias` (2, 3U), in this order and no others: `get_weights()`
    of a stock GRU fits. `learn_mean` puts `initial_mean` (U,) before them, `scale` then `log_stddev` or
    `residual_variance` (U,), which inference doesn't read. `current_stddev` is not a weight but part of
    the configuration: `clone_model`, `.keras` and whole-model `.h5` files keep it, weights files do not.

    Sources: Cho et al. (2014), "Learning Phrase Representations using RNN Encoder-Decoder for Statistical
    Machine Translation", arXiv:1406.1078 (the GRU); Zimmermann, Tietz and Grothmann (2012), "Forecasting with
    Recurrent Neural Networks: 12 Tricks", in Neural Networks: Tricks of the Trade (the noisy first state, and that its
    noise be as large as the residual error that backpropagation finds there); Kingma and Welling (2014),
    "Auto-Encoding Variational Bayes", arXiv:1312.6114 (the learned scale, reparameterized).
    """

    def __init__(
        self,
        units,
        stddev=0.1,
        noise="normal",
        seed=None,
        learn_mean=False,
        fused=True,
        scale="fixed",
        share=0.5,
        carry_seed=None,
        residual_momentum=0.9,
        decays=False,
        **gru_arguments,
    ):
        if keras.backend.backend() != "tensorflow":
            raise RuntimeError(
                "NoisyGRU needs Keras' TensorFlow backend. Set KERAS_BACKEND=tensorflow before Keras is imported. "
                f"Received: backend {keras.backend.backend()!r}"
            )
        stddev = checked_stddev(stddev, "stddev")
        if noise not in NOISES:
            raise ValueError(f"Argument `noise` must be one of {NOISES}. Received: noise={noise!r}")
        if not isinstance(learn_mean, bool):
            raise ValueError(f"Argument `learn_mean` must be True or False. Received: learn_mean={learn_mean!r}")
        check_scale(scale, noise, stddev, share, residual_momentum)
        super().__init__(units, fused=fused, decays=decays, seed=seed, **gru_arguments)
        self.stddev = stddev
        self.noise = noise
        self.seed = seed
        self.learn_mean = learn_mean
        self.scale, self.share = scale, float(share)
        self.carry_seed, self.residual_momentum = carry_seed, float(residual_momentum)
        self.initial_mean = self.log_stddev = self.residual_variance = None
        carries_with_others = noise == CARRIED and carry_seed is not None
        draw_seed = noise_seed(carry_seed, False) if carries_with_others else noise_seed(seed, self.go_backwards)
        self.noise_seed_generator = NoiseSeedGenerator(draw_seed)
        # A variable, so that a new value needs no new trace; past Keras' tracker, so that it is not a weight.
        variable = keras.Variable(stddev, trainable=False, dtype="float64", autocast=False, name="stddev")
        object.__setattr__(self, "_stddev_variable", variable)

    @property
    def current_stddev(self):
        """The standard deviation in effect, a float; assign it to anneal the noise without a new trace."""
        return float(self._stddev_variable.numpy())

    @current_stddev.setter
    def current_stddev(self, value):
        self._stddev_variable.assign(checked_stddev(value, "current_stddev"))

    def build(self, sequences_shape, initial_state_shape=None, initial_mean_shape=None):
        if self.learn_mean:
            self.initial_mean = self.add_weight(shape=(self.units,), initializer="zeros", name="initial_mean")
        if self.scale == "learned":
            initializer = keras.initializers.Constant(math.log(self.stddev))
            self.log_stddev = self.add_weight(shape=(self.units,), initializer=initializer, name=LOG_STDDEV)
        elif self.scale == "residual":
            self.residual_variance = self.add_weight(
                shape=(self.units,),
                initializer=keras.initializers.Constant(self.stddev**2),
                trainable=False,
                name=RESIDUAL_VARIANCE,
            )
        super().build(sequences_shape, initial_state_shape)

    def get_initial_state(self, batch_size):
        """Return the states without noise: a list holding one tensor of shape (batch_size, U), in the compute dtype."""
        if self.initial_mean is None:
            return super().get_initial_state(batch_size)
        mean = ops.cast(self.initial_mean, self.compute_dtype)
        return [ops.broadcast_to(mean, (batch_size, self.units))]

    def compute_output_shape(self, sequences_shape, initial_state_shape=None, initial_mean_shape=None):
        return super().compute_output_shape(sequences_shape, initial_state_shape)

    def call(self, sequences, initial_state=None, mask=None, training=False, initial_mean=None, repeats=None):
        if repeats is not None:
            return self._from_shared_states(sequences, initial_state, mask, training, repeats)
        if initial_mean is not None:
            other = "`stateful=True`" if self.stateful else None if initial_state is None else "an `initial_state`"
            initial_mean = checked_mean(initial_mean, self.units, self.compute_dtype, other)
        noisy = bool(training) and initial_state is None and not self.stateful
        if noisy or initial_mean is not None:
            batch_size = ops.shape(sequences)[0]  # pyright: ignore[reportOptionalSubscript]
            (mean,) = self.get_initial_state(batch_size)
            # Not ops.add, which takes a (0, U) tensor for a bias.
            mean = mean if initial_mean is None else mean + initial_mean
            initial_state = [self._noisy_state(mean, sequences, mask) if noisy else mean]
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    def _noisy_state(self, mean: Any, sequences: Any, mask: Any) -> Any:
        """Return the first states of a training batch, (B, U)."""
        rows = ops.shape(sequences)[0]  # pyright: ignore[reportOptionalSubscript]
        if self.noise == CARRIED:
            final = self._final_states(tf.stop_gradient(sequences), tf.stop_gradient(mean), mask)
            bits = random_bits(self.noise_seed_generator.next(), rows, 2)
            return carried_states(mean, final, bits, self.share * self._factor("float32"))
        state = mean + self._draw_noise(rows)
        if self.residual_variance is None:
            return state
        anchor = tf.convert_to_tensor(self.cell.recurrent_kernel)
        return with_residual(state, self.residual_variance, anchor, self.residual_momentum)

    def _factor(self, dtype: str) -> Any:
        """Return the standard deviation in effect as a part of the reference scale."""
        return ops.cast(self._stddev_variable, dtype) * ((1 / self.stddev) if self.stddev else 0.0)  # pyright: ignore[reportOptionalOperand]

    def _draw_noise(self, batch_size):
        # 23 random bits need float32; half precision would round some to infinity.
        dtype = "float64" if self.variable_dtype == "float64" else "float32"
        seed = self.noise_seed_generator
        rows, first = seed.rows(batch_size)
        noise = unit_noise(random_bits(seed.next(), rows, self.units), self.noise, dtype)
        if seed.equal_shares:
            noise = noise[first : first + batch_size]
        if self.log_stddev is not None:
            scale = self._factor(dtype) * ops.exp(ops.cast(self.log_stddev, dtype))
        elif self.residual_variance is not None:
            scale = self._factor(dtype) * ops.minimum(
                ops.sqrt(ops.cast(self.residual_variance, dtype)), LARGEST_RESIDUAL
            )
        else:
            scale = ops.cast(self._stddev_variable, dtype)
        return ops.cast(ops.multiply(scale, noise), self.compute_dtype)

    @property
    def unit_stddevs(self):
        """The standard deviation of each unit's first state in training, a NumPy array (U,); not of "carried"."""
        if self.log_stddev is not None:
            own = np.exp(self.log_stddev.numpy())
        elif self.residual_variance is not None:
            own = np.minimum(np.sqrt(self.residual_variance.numpy()), LARGEST_RESIDUAL)
        else:
            return np.full(self.units, self.current_stddev)
        return own * (self.current_stddev / self.stddev)

    def reset_state(self):
        """Set the states of a `stateful` layer back to the mean."""
        for state in self.states or ():
            state.assign(self.get_initial_state(state.shape[0])[0])

    def load_own_variables(self, store):
        super().load_own_variables(store)
        # The states were created while the mean was zeros.
        self.reset_state()

    def get_config(self):
        return {
            **super().get_config(),
            "stddev": self.stddev,
            "current_stddev": self.current_stddev,
            "noise": self.noise,
            "learn_mean": self.learn_mean,
            "scale": self.scale,
            "share": self.share,
            "carry_seed": self.carry_seed,
            "residual_momentum": self.residual_momentum,
        }

    @classmethod
    def from_config(cls, config):
        """Return the layer of a configuration; without `current_stddev` in it, the reference scale is in effect."""
        config = dict(config)
        current_stddev = config.pop("current_stddev", None)
        layer = super().from_config(config)
        if current_stddev is not None:
            layer.current_stddev = current_stddev
        return layer
