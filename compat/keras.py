"""Private names of Keras, as read in Keras 3.15 (keras/src/layers/layer.py, keras/src/optimizers/base_optimizer.py).

``NoisyGRU`` overrides `inner_loop` of Keras' GRU, too (keras/src/layers/rnn/gru.py): a method of a subclass can't be
moved here. `requirements/pipeline.in` has the bound, Keras below 3.16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def flatten_layers(layer: Any) -> Iterator[Any]:
    """Yield a layer or model and all layers in it, also inside wrappers, inner models and lists.

    Keras' public `layers` stops at the first level and knows no wrapper's insides.
    """
    return iter(layer._flatten_layers())


def take_gradients_as_summed(optimizer: Any) -> None:
    """Keep an optimizer from summing gradients over replicas, for a caller that has done it."""
    optimizer._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables


def moving_averages(optimizer: Any) -> list[Any]:
    """The variables in which an optimizer with `use_ema` keeps the averages, in the order of the trained ones.

    Keras' own callback, SwapEMAWeights, exchanges them with the weights by sums, which rounds both at each exchange.
    """
    return list(optimizer._model_variables_moving_average)


def run_through_graph(model: Any, inputs: Any, call: Callable[..., Any]) -> Any:
    """Run a functional model on tensors, layer by layer.

    Args:
        model: functional.
        inputs: in the structure of `model.input`.
        call: called in place of each layer, with the layer and its arguments; it returns the layer's outputs.
    """
    return model._run_through_graph(inputs, call_fn=call)
