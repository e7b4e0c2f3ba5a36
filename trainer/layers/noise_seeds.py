"""Seeds for the noise of the initial state: by layer, by call, by replica."""

import keras
import numpy as np
import tensorflow as tf

_REPLICA_STRIDE = 1_000_003


class NoiseSeedGenerator(keras.random.SeedGenerator):
    """A seed generator whose draws differ between the replicas of a `tf.distribute` strategy.

    A mirrored seed variable holds the same value on every replica; alone, it would give the first sequence
    of every replica the same noise.

    Where all replicas are known to get equally many rows of a batch, set `equal_shares`: each then draws for the whole
    batch and takes its own rows, so a sequence has the noise that it would have on one device.
    """

    equal_shares = False

    def next(self, ordered=True):
        seed = super().next(ordered=ordered)
        return seed if self.equal_shares else per_replica_seed(seed)

    def rows(self, count):
        """Rows to draw for `count` of this replica, and the first of them that is its own."""
        context = tf.distribute.get_replica_context()
        if not self.equal_shares or context is None:
            return count, 0
        return count * context.num_replicas_in_sync, count * context.replica_id_in_sync_group


def per_replica_seed(seed):
    """Derive this replica's seed, int64 (2,), from the one that all replicas share."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return seed
    replica = tf.cast(context.replica_id_in_sync_group, seed.dtype)
    return seed + tf.stack([_REPLICA_STRIDE * replica, tf.zeros_like(replica)])


def noise_seed(seed, go_backwards):
    """Derive a layer's noise seed: independent of its dropout's, and of the other direction's in a `Bidirectional`."""
    if seed is None:
        return None
    sequence = np.random.SeedSequence(seed % 2**64, spawn_key=(int(go_backwards),))
    return int(sequence.generate_state(1)[0])
