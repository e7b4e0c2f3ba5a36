"""Reading the reference files in a run: what can't be used is named with the key that holds it."""

from __future__ import annotations

import pytest

from noisy_gru.components.evaluation.config import ReferenceConfig
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.file_patterns import local_glob
from noisy_gru.storage.object_stores import open_file

pytestmark = pytest.mark.slow

DATASET = DatasetConfig.model_validate(
    {
        "data": {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]},
        "task": {"kind": "classification", "label": "y"},
    }
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"evaluation\.reference\.files: r\.csv matches no file"),
        ("", r"r\.csv: is empty; expected a header with the column names\. Leave it out"),
        ("id,t,x,y\n", r"evaluation\.reference\.files: the files hold no rows"),
    ],
)
@pytest.mark.filterwarnings("default")
def test_files_that_cannot_be_used(tmp_path, content, message):
    from noisy_gru.components.reference_gate.reference_set import read_reference

    if content is not None:
        (tmp_path / "r.csv").write_text(content)
    with pytest.raises((DataError, RuntimeError), match=message) as raised:
        read_reference(
            DATASET,
            ReferenceConfig(files=["r.csv"]),
            base=str(tmp_path),
            trained_on={},
            glob=local_glob,
            opener=open_file,
        )
    assert "data.files" not in str(raised.value)
