"""Convert the two JapaneseVowels `.ts` files to long tables: one row per time step.

    python examples/japanese_vowels/convert.py JapaneseVowels_TRAIN.ts JapaneseVowels_TEST.ts OUT_DIR

Writes `OUT_DIR/train.csv.gz` and `OUT_DIR/test.csv.gz`. Numbers are copied as text, so no digit is lost.
The standard library is all it needs, and the same input gives the same bytes on the same zlib.
"""

import argparse
import csv
import gzip
import io
import math
import sys
from collections.abc import Iterator
from pathlib import Path

CHANNELS = [f"c{number:02d}" for number in range(1, 13)]
HEADER = ["utterance", "step", *CHANNELS, "speaker"]


def read_ts(path: Path) -> Iterator[tuple[list[list[str]], str]]:
    """Yields (steps, label) per utterance; steps has one list of 12 numbers (as text) per time step.

    A line of the file is `channel:channel:…:label`, a channel `value,value,…`. Utterances differ in length.
    """
    classes: list[str] | None = None
    in_data = False
    for line_number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        where, line = f"{path}, line {line_number}", raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("@"):
            words = line.split()
            if words[0].lower() == "@classlabel":
                classes = words[2:]
            in_data = in_data or words[0].lower() == "@data"
            continue
        if not in_data or classes is None:
            raise ValueError(
                f"{where}: expected @classLabel and @data before the first series. Received: {line[:60]!r}"
            )
        *channels, label = line.split(":")
        if len(channels) != len(CHANNELS):
            raise ValueError(
                f"{where}: expected {len(CHANNELS)} channels and a label. Received: {len(channels)} channels"
            )
        if label not in classes:
            raise ValueError(f"{where}: expected a label among {classes}. Received: {label!r}")
        columns = [channel.split(",") for channel in channels]
        lengths = [len(column) for column in columns]
        if len(set(lengths)) != 1:
            raise ValueError(f"{where}: expected channels of one length. Received: {lengths}")
        for name, column in zip(CHANNELS, columns, strict=True):
            for value in column:
                if not _is_number(value):
                    raise ValueError(f"{where}, {name}: expected a finite number. Received: {value!r}")
        yield [list(step) for step in zip(*columns, strict=True)], label


def long_table(path: Path, prefix: str) -> str:
    """The CSV text of one `.ts` file; utterances are named `<prefix>-001`, `<prefix>-002`, … in file order."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    number = 0
    for number, (steps, label) in enumerate(read_ts(path), start=1):
        writer.writerows([f"{prefix}-{number:03d}", index, *step, label] for index, step in enumerate(steps))
    if not number:
        raise ValueError(f"{path}: expected series after @data. Received: none")
    return text.getvalue()


def write_gzip(path: Path, text: str) -> None:
    """Write a gzip file without a name or a time stamp in it."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
        packed.write(text.encode("utf-8"))


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="JapaneseVowels .ts files to long tables.")
    parser.add_argument("train", type=Path, metavar="TRAIN.ts")
    parser.add_argument("test", type=Path, metavar="TEST.ts")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    options = parser.parse_args(arguments)
    try:
        tables = {name: long_table(path, name) for name, path in (("train", options.train), ("test", options.test))}
        options.out_dir.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            write_gzip(options.out_dir / f"{name}.csv.gz", table)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
