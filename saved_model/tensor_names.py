"""Names of the categorical inputs of the signatures `serving_tensors` and `serving_step`; needs no TensorFlow.

>>> from noisy_gru.schema.config import DataConfig
>>> columns = [{"name": "sky", "kind": "categorical"}, {"name": "kind of day", "kind": "categorical"}]
>>> data = DataConfig.model_validate({"files": ["a.csv"], "entity": "id", "time": {"column": "t"}, "features": columns})
>>> tensor_names(data)
{'sky': 'sky', 'kind of day': 'kind_of_day'}

Static numeric features are the input ``STATIC_FEATURES``, which exists only if there are some.
"""

from __future__ import annotations

import re

from noisy_gru.schema.config import DataConfig

STATIC_FEATURES = "static_features"  # float32 [B, S]
_TAKEN = ("features", "lengths", "state")


def tensor_names(data: DataConfig) -> dict[str, str]:
    """Return the input's name for each categorical column with a value for each step: strings [B, T].

    They are in the order of the configuration. It is the column's name where TensorFlow allows that: all but ASCII
    letters, digits and `_` become `_`, a leading `_` is prefixed with `c`, and a name that is taken already, in any
    case, gets another `_`.
    """
    names = _names(data)
    return {feature.name: names[feature.name] for feature in data.categorical}


def static_tensor_names(data: DataConfig) -> dict[str, str]:
    """Return the input's name for each static categorical column: strings [B]; named as by ``tensor_names``."""
    names = _names(data)
    return {feature.name: names[feature.name] for feature in data.static_categorical}


def _names(data: DataConfig) -> dict[str, str]:
    taken: set[str] = {*_TAKEN, STATIC_FEATURES} if data.static_numeric else set(_TAKEN)
    names = {}
    for feature in [*data.categorical, *data.static_categorical]:
        name = re.sub(r"[^A-Za-z0-9_]", "_", feature.name)
        name = f"c{name}" if name.startswith("_") else name
        while name.lower() in taken:
            name += "_"
        taken.add(name.lower())
        names[feature.name] = name
    return names
