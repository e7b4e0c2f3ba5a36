"""pyarrow without pandas, in processes of their own: what is imported once stays imported."""

import subprocess
import sys

CODE = """
import sys
from noisy_gru.compat.pyarrow_pandas import leave_pandas_out
leave_pandas_out()
import noisy_gru.pipeline.prediction
import pyarrow as pa
table = pa.table({"a": [1.5, None], "b": ["x", "y"]})
assert "pandas" not in sys.modules, "imported by pyarrow, or by a module of predict"
import pandas as pd
frame = table.to_pandas()
pd.testing.assert_frame_equal(frame, pd.DataFrame({"a": [1.5, None], "b": ["x", "y"]}))
assert pa.Table.from_pandas(frame).to_pydict() == {"a": [1.5, None], "b": ["x", "y"]}
leave_pandas_out()
"""


def test_pandas_is_left_out_until_it_is_needed():
    ended = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
