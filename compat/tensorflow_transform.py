"""Private names of TensorFlow Transform, as read in 1.21 (tensorflow_transform/impl_helper.py,
tensorflow_transform/inspect_preprocessing_fn.py, tensorflow_transform/beam/analysis_graph_builder.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def shared_traces() -> Iterator[None]:
    """Trace a preprocessing function once for all that only looks at its graph, in the block.

    TFX asks four times which inputs and analyzers it has before Transform begins, of nine traces in all; with hundreds
    of columns each takes a second.
    """
    import tensorflow_transform.impl_helper as module

    helper: Any = module
    plain = helper.trace_preprocessing_function
    last: list[tuple[Any, Mapping[str, Any], bool, Any]] = []

    def trace(function: Any, input_specs: Mapping[str, Any], use_tf_compat_v1: bool, base_temp_dir: Any = None) -> Any:
        if base_temp_dir is not None:
            # The graph that is analysed, of which others know nothing.
            last.clear()
            return plain(function, input_specs, use_tf_compat_v1, base_temp_dir)
        for known, specs, is_v1, found in last:
            if known is function and specs == input_specs and is_v1 == use_tf_compat_v1:
                return found
        found = plain(function, input_specs, use_tf_compat_v1)
        last[:] = [(function, dict(input_specs), use_tf_compat_v1, found)]
        return found

    helper.trace_preprocessing_function = trace
    try:
        yield
    finally:
        helper.trace_preprocessing_function = plain
