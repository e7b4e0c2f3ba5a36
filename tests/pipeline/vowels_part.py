"""A part of JapaneseVowels that is quick to run: few sequences, three columns, and a schema for them."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

from noisy_gru.pipeline.config.loading import load_config

VOWELS = Path(__file__).parents[2] / "examples" / "japanese_vowels"


def write_part(folder: Path, features: list[dict[str, Any]]) -> list[str]:
    """Write two files for train, one for test, and a schema of the columns c01 to c03; return the settings for them."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    for half, every, files in (("train", 4, 2), ("test", 8, 1)):
        with gzip.open(VOWELS / f"{half}.csv.gz", "rt", newline="") as stream:
            header, *rows = csv.reader(stream)
        kept = sorted({row[0] for row in rows})[::every]
        for number in range(files):
            mine = set(kept[number::files])
            with (folder / f"{half}-{number}.csv").open("w", newline="") as out:
                csv.writer(out).writerows([header, *(row for row in rows if row[0] in mine)])
    schema: Any = schema_pb2.Schema()
    text_format.Parse(Path(load_config(VOWELS / "config.yaml").schema_path).read_text(), schema)
    for number in range(4, 13):
        schema.feature.remove(next(each for each in schema.feature if each.name == f"c{number:02d}"))
    (folder / "schema.pbtxt").write_text(text_format.MessageToString(schema))
    return [
        f"data.files={{train: ['{folder}/train-*.csv'], test: ['{folder}/test-*.csv']}}",
        f"data.features={json.dumps(features)}",
        f"schema={folder}/schema.pbtxt",
    ]
