"""Names of the categorical inputs of the signatures `serving_tensors` and `serving_step`; needs no TensorFlow.

>>> from noisy_gru.schema.config import DataConfig
>>> columns = [{"name": "sky", "kind": "categorical"}, {"name": "kind of day", "kind": "categorical"}]
>>> data = DataConfig.model_validate({"files": ["a.csv"], "entity": "id", "time": {"column": "t"}, "features": columns})
>>> tensor_names(data)
{'sky': 'sky', 'kind of day': 'kind_of_day'}
"""

from __future__ import annotations

import re

from noisy_gru.schema.config import DataConfig

_TAKEN = ("features", "lengths", "state")


def tensor_names(data: DataConfig) -> dict[str, str]:
    """Return the input's name for each categorical column, in the order of the configuration.

    It is the column's name where TensorFlow allows that: all but ASCII letters, digits and `_` become `_`, a leading
    `_` is prefixed with `c`, and a name that is taken already, in any case, gets another `_`.
    """
    taken: set[str] = set(_TAKEN)
    names = {}
    for feature in data.categorical:
        name = re.sub(r"[^A-Za-z0-9_]", "_", feature.name)
        name = f"c{name}" if name.startswith("_") else name
        while name.lower() in taken:
            name += "_"
        taken.add(name.lower())
        names[feature.name] = name
    return names
