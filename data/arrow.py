"""PyArrow as untyped names: it ships no type information."""

from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet

pa: Any = pyarrow
pc: Any = pyarrow.compute
pa_csv: Any = arrow_csv
pa_parquet: Any = arrow_parquet
