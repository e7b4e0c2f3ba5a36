"""Keep pyarrow from importing pandas, in commands that give it no pandas objects.

pyarrow imports pandas when it makes its first array, to recognise Series, and tries that once. It is a third of the CPU
seconds of a small `noisy-gru predict`. Code that needs pandas imports it all the same, and pyarrow's `to_pandas` does.
"""

from __future__ import annotations

import sys


class _NoPandas:
    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is left out", name=name)


def leave_pandas_out() -> None:
    """Let pyarrow find no pandas in this process, unless pandas is imported already.

    From now on `pyarrow.array` takes a Series as any sequence: its NaN stay NaN. So this is for processes that are
    ours, not for a library's users.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(_NoPandas)
