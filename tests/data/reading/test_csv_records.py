"""Every physical line of a CSV file is a row, malformed, part of a cell that was meant, a header, or blank."""

from __future__ import annotations

import csv
import gzip
import io
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from noisy_gru.data.arrow import pa, pa_csv
from noisy_gru.data.columns import Columns
from noisy_gru.data.ingestion.report_checks import check_rows
from noisy_gru.data.reading.csv_lines import MOST_CELL_LINES
from noisy_gru.data.reading.csv_records import REPEATED_HEADER, Malformed, RecordReader
from noisy_gru.data.reading.csv_tables import ends_with_line_end, read_csv
from noisy_gru.data.reading.preview import preview_files
from noisy_gru.data.reading.tables import Source
from noisy_gru.schema.errors import DataError

HEAD = "id,t,x,y\n"
LINE_END = re.compile(r"\r\n|\r|\n")


def read(text: str | bytes, block_bytes: int = 1 << 20) -> tuple[list[tuple[int, int, bytes]], list[Malformed]]:
    """Line, row number and bytes of each record; and what is malformed."""
    data = text.encode() if isinstance(text, str) else text
    reader = RecordReader(io.BytesIO(data), "rows.csv", block_bytes)
    reader.header()
    records, malformed = [], []
    for chunk in reader.chunks():
        ends = [*chunk.starts.tolist(), len(chunk.content)][1:]
        for line, row, start, end in zip(chunk.lines, chunk.rows, chunk.starts, ends, strict=True):
            records.append((int(line), int(row), chunk.content[start:end]))
        malformed += chunk.malformed
    return records, malformed


def physical_lines(text: str) -> list[str]:
    lines = LINE_END.split(text)
    return lines[:-1] if not lines[-1] else lines


def record_at(lines: list[str], at: int, cells: int) -> int:
    """How many lines the record takes that begins on a line; 0 where that line is malformed.

    Written from RFC 4180, one character after another; a bare quote inside an unquoted cell is allowed. Of a quoted
    cell of several lines it only says that it is whole, not whether it was meant.
    """
    state, count, last, position, line = "start", 1, at, 0, lines[at]
    while True:
        if position == len(line):
            if state != "quoted":
                break
            last += 1
            if last == len(lines) or last - at >= MOST_CELL_LINES:
                return 0
            line, position = lines[last], 0
            continue
        letter = line[position]
        position += 1
        if state == "quoted":
            state = "closing" if letter == '"' else state
        elif state == "closing" and letter == '"':
            state = "quoted"
        elif letter == ",":
            state, count = "start", count + 1
        elif state in ("closing", "closed"):
            if letter not in " \t":
                return 0
            state = "closed"
        else:
            state = "quoted" if state == "start" and letter == '"' else "plain"
    taken = last - at + 1
    if any("\0" in line for line in lines[at : last + 1]) or (taken > 1 and count != cells):
        return 0
    return taken


texts = st.text(st.sampled_from('a1,,""\n\n\r\0 '), max_size=60)


@settings(max_examples=250, deadline=None)
@given(text=texts, block=st.integers(1, 70))
@example(text='"1,2\n3,4\n5",6\n', block=1)
@example(text='a,"\n",b\r\r\n""\n', block=3)
def test_all_lines_are_accounted_for_as_a_state_machine_says(text: str, block: int) -> None:
    records, malformed = read(f"a,b\n{text}", block)
    assert (records, malformed) == read(f"a,b\n{text}")
    lines = physical_lines(text)
    given_lines = {line - 2: record.decode() for line, _, record in records}
    bad = {each.line - 2 for each in malformed if each.line}
    at = 0
    while at < len(lines):
        taken = record_at(lines, at, 2) if lines[at] else 1
        if not lines[at]:
            assert at not in given_lines
            assert at not in bad
        elif taken == 0 or at in bad:
            assert at in bad
            assert at not in given_lines
            if taken:  # not meant: its lines are rows by themselves
                assert sum("," in line for line in lines[at : at + taken]) * 2 > taken > 1
            taken = 1
        else:
            assert physical_lines(given_lines[at]) == lines[at : at + taken]
        at += taken
    assert len(given_lines) + len(bad) == len(records) + len(malformed)
    numbers = sorted([row for _, row, _ in records] + [each.row for each in malformed])
    assert numbers == list(range(1, len(numbers) + 1))


@settings(max_examples=150, deadline=None)
@given(text=texts)
def test_a_record_is_one_row_to_python_and_to_arrow(text: str) -> None:
    for _, _, record in read(f"a,b\n{text}")[0]:
        row = record.decode()
        expected = list(csv.reader(io.StringIO(row, newline="")))
        assert len(expected) == 1
        table = pa_csv.read_csv(
            pa.BufferReader(record),
            read_options=pa_csv.ReadOptions(column_names=[str(place) for place in range(len(expected[0]))]),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types={str(place): pa.string() for place in range(len(expected[0]))}, strings_can_be_null=False
            ),
        )
        assert [list(each.values()) for each in table.to_pylist()] == expected


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(*[st.text("ab, \"\r\n'é", max_size=8)] * 3, st.just("end")), max_size=20),
    # Python's writer quotes of CR and LF only the one that its own line ends hold.
    written=st.sampled_from([(csv.QUOTE_MINIMAL, "\r\n"), *((csv.QUOTE_ALL, end) for end in ("\n", "\r\n", "\r"))]),
    block=st.integers(1, 300),
)
def test_what_python_writes_is_read_back(rows: list[tuple[str, ...]], written: tuple[int, str], block: int) -> None:
    quoting, end = written
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerows([("p", "q", "r", "s"), *rows])
    records, malformed = read(text.getvalue(), block)
    found = [next(csv.reader(io.StringIO(record.decode(), newline=""))) for _, _, record in records]
    kept = [list(row) for row in rows]
    if malformed:  # a cell with as many commas on its lines as a row has
        assert any("by themselves" in each.problem for each in malformed)
    else:
        assert found == kept


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(2, 150),
    quotes=st.lists(st.tuples(st.integers(0, 149), st.integers(0, 20)), min_size=1, max_size=6),
    block=st.integers(20, 400),
)
@example(count=130, quotes=[(3, 0), (110, 5)], block=400)
def test_stray_quotes_cost_no_other_line(count: int, quotes: list[tuple[int, int]], block: int) -> None:
    lines = [f"e{row % 7},{row},{row / 8},c{row % 3}" for row in range(count)]
    touched = set()
    for row, place in quotes:
        if row < count:
            line = lines[row]
            lines[row] = line[: min(place, len(line))] + '"' + line[min(place, len(line)) :]
            touched.add(row)
    records, malformed = read(HEAD + "\n".join(lines) + "\n", block)
    kept = {row - 1 for _, row, record in records if record.decode().rstrip("\n") == lines[row - 1]}
    bad = {each.row - 1 for each in malformed}
    assert set(range(count)) - touched <= kept
    assert kept | bad == set(range(count))
    assert not kept & bad
    assert all(each.line == each.row + 1 for each in malformed)


def rows_of(count: int) -> list[str]:
    return [f"e{row % 12},{row},{row / 7},{'up' if row % 2 else 'down'}" for row in range(count)]


@pytest.mark.parametrize(("rows", "lost"), [([99], [100]), ([99, 299], [100, 300])])
def test_a_stray_quote_quarantines_its_own_row(ingest, tmp_path, configured, rows, lost) -> None:
    lines = rows_of(480)
    for row in rows:
        lines[row] = '"' + lines[row]
    (tmp_path / "rows.csv").write_text(HEAD + "\n".join(lines) + "\n")
    found = ingest(configured(), [tmp_path / "rows.csv"])
    assert found.report.rows_read == 480
    assert found.report.rows_kept == 480 - len(lost)
    assert [(line["row"], line["line"]) for line in found.lines] == [(row, row + 1) for row in lost]
    assert all("opens a cell" in line["problem"] for line in found.lines)


@pytest.mark.parametrize("stray", ['b,1,1," ,k', 'b,1,1,"c', 'b,1,1,"c,k', 'b,1,1,"'])
@pytest.mark.parametrize("closing", ['c,2,1,5",k', 'c,2,1,5","x,y"', 'c, 2 ,1,5","k"'])
def test_the_inch_mark_of_the_next_row_closes_no_stray_quote(ingest, tmp_path, configured, stray, closing) -> None:
    text = "\n".join(["id,t,x,z,y", "a,0,1,c,k", stray, closing, "d,3,1,c,k", ""])
    (tmp_path / "rows.csv").write_text(text)
    found = ingest(configured(), [tmp_path / "rows.csv"])
    assert found.report.rows_read == 4
    assert [line["line"] for line in found.lines] == [3]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.lists(
        st.lists(st.text("ab \n", min_size=1, max_size=6).map(lambda text: f"k{text}k"), min_size=3, max_size=3)
    ),
    order=st.permutations(["id", "t", "x", "z", "y"]),
)
@example(cells=[["k\nk", "kk", "kk"]], order=["id", "t", "x", "z", "y"])
@example(cells=[["k\nk", "k\nk", "k\nk"]], order=["y", "id", "t", "z", "x"])
def test_meant_line_ends_are_kept_in_every_column(ingest, tmp_path, configured, cells, order) -> None:
    rows = [{"id": f"{row}{a}", "t": str(row), "x": "1", "z": b, "y": c} for row, (a, b, c) in enumerate(cells)]
    with (tmp_path / "rows.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, order, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    found = ingest(configured(), [tmp_path / "rows.csv"])
    assert found.report.rows_read == found.report.rows_kept == len(rows)
    assert sorted(found.by_id) == sorted(row["id"] for row in rows)


@pytest.mark.parametrize("text", ["two\nlines", "one, two, three, four\nfive, six", "a\nb, c, d\ne, f"])
def test_prose_in_a_cell_of_several_lines_is_no_row(ingest, tmp_path, configured, text) -> None:
    (tmp_path / "rows.csv").write_text(f'id,t,x,z,y\na,0,1,"{text}",k\na,1,1,"{text}",k\n')
    found = ingest(configured(), [tmp_path / "rows.csv"])
    assert (found.report.rows_read, found.report.rows_kept) == (2, 2)


def test_repeated_headers_are_written_down_and_make_no_file_bad(ingest, tmp_path, configured) -> None:
    lines = [f"a,{row},1,c" for row in range(6)]
    text = HEAD + "\n".join([*lines[:2], "\ufeffid,t,x,y", *lines[2:4], '"id","t","x","y"', *lines[4:]])
    (tmp_path / "rows.csv").write_text(text)
    dataset = configured(policies={"max_quarantined_fraction": 0.0})
    found = ingest(dataset, [tmp_path / "rows.csv"])
    assert found.by_id["a"]["time"] == list(range(6))
    assert found.report.quarantined == {REPEATED_HEADER: 2}
    assert [line["line"] for line in found.lines] == [4, 7]
    check_rows(found.report, dataset)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    ("names", "is_same"),
    [
        (["ID", "T", "X", "Y"], True),
        (["id", " t", " x ", "y "], True),
        (['"Id"', '" t "', "x", "y"], True),
        (["ID", "T", "Y", "X"], False),
        ([" id ", " t", "y", "x"], False),
        (["Id", "T"], False),
    ],
)
def test_a_header_of_another_spelling_is_one(ingest, tmp_path, configured, delimiter, names, is_same) -> None:
    lines = [delimiter.join(row) for row in (["id", "t", "x", "y"], ["a", "0", "1", "c"], names, ["a", "1", "1", "c"])]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    dataset = configured(csv={"delimiter": delimiter})
    if is_same:
        lines_of_report = ingest(dataset, [tmp_path / "rows.csv"]).lines
        assert [(line["line"], line["reason"]) for line in lines_of_report] == [(3, REPEATED_HEADER)]
    else:
        with pytest.raises(DataError, match=r"line 3: another header"):
            ingest(dataset, [tmp_path / "rows.csv"])


def test_another_header_is_an_error(ingest, tmp_path, configured) -> None:
    (tmp_path / "rows.csv").write_text(HEAD + "a,0,1,c\nt,id,x,y\n1,a,1,c\n")
    with pytest.raises(DataError, match=r"rows\.csv: line 3: another header, t, id, x, y, while .* id, t, x, y"):
        ingest(configured(), [tmp_path / "rows.csv"])


def test_a_row_with_cells_that_are_called_as_columns_are(ingest, tmp_path, configured) -> None:
    (tmp_path / "rows.csv").write_text("id,t,x,y,role,shift\na,0,1,c,t,id\na,1,1,c,id,t\n")
    found = ingest(configured(), [tmp_path / "rows.csv"])
    assert found.by_id["a"]["time"] == [0, 1]
    (tmp_path / "rows.csv").write_text("id,t,x,y\nid,0,1,t\nid,t,x,y\nid,1,1,t\n")
    found = ingest(configured(), [tmp_path / "rows.csv"])
    assert found.by_id["id"]["time"] == [0, 1]
    assert found.report.quarantined == {REPEATED_HEADER: 1}


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_long_files_of_any_line_end(ingest, tmp_path, configured, end) -> None:
    count = 140_000  # over 1 MiB
    text = HEAD + "".join(f"a,{row},1,c\n" for row in range(count))
    (tmp_path / "rows.csv").write_bytes(text.replace("\n", end).encode())
    assert ingest(configured(), [tmp_path / "rows.csv"]).report.rows_read == count


def test_blank_lines_and_lines_of_commas(ingest, tmp_path, configured) -> None:
    (tmp_path / "rows.csv").write_text("\n\r\n" + HEAD + "\na,0,1,c\n\n\n,,,\na,1,2,c\n \n")
    found = ingest(configured(), [tmp_path / "rows.csv"])
    assert found.by_id["a"]["time"] == [0, 1]
    assert [(line["row"], line["line"]) for line in found.lines] == [(4, 10), (2, 8)]


def test_nul_bytes_and_a_cut_file(ingest, tmp_path, configured) -> None:
    rows = b"a,0,1,c\na,1,\0\0,c\na,2,3,c\n" + b"\0" * 5000 + b"\na,3,4,c\na,4,5"
    (tmp_path / "rows.csv").write_bytes(HEAD.encode() + rows)
    found = ingest(configured(), [tmp_path / "rows.csv"])
    assert found.by_id["a"]["time"] == [0, 2, 3]
    problems = {line["line"]: line["problem"] for line in found.lines}
    assert sorted(problems) == [3, 5, 7]
    assert "NUL byte" in problems[3]
    assert len(problems[5]) < 1000
    assert "expected 4 cells, received 3: 'a,4,5'" in problems[7]


def test_cells_of_several_lines(ingest, tmp_path, configured) -> None:
    for lines, kept in ((MOST_CELL_LINES, 2), (MOST_CELL_LINES + 1, 1)):
        text = HEAD + 'a,0,1,"' + "word\n" * (lines - 1) + 'word"\nb,0,1,d\n'
        (tmp_path / "rows.csv").write_text(text)
        found = ingest(configured(), [tmp_path / "rows.csv"])
        assert found.report.rows_kept == kept
        read_rows = found.report.rows_read
        assert read_rows == (2 if kept == 2 else lines + 1)


OTHER_KINDS = [
    ("rows.csv", gzip.compress(HEAD.encode()), r"received gzip .* name it \.csv\.gz"),
    ("rows.csv", (HEAD + "a,0,1,c\n").encode("utf-16"), r"received UTF-16 .* save it as UTF-8"),
    ("rows.csv", (HEAD + "a,0,1,c\n").encode("utf-32"), r"received UTF-32 .* save it as UTF-8"),
    ("rows.csv", HEAD.encode("utf-16-le"), r"line 1: the header holds NUL bytes; .* Save the file as UTF-8"),
    ("rows.csv", b"PAR1\x15\x04\x15", r"received Parquet .* name it \.parquet"),
    ("rows.csv", b"PK\x03\x04\x14\0", r"received a ZIP archive or a workbook"),
    ("rows.csv", b'id,"t,x,y\na,0,1,c\n', r"line 1: the header: a quote \(\"\) opens a cell that does not end"),
    ("rows.csv", b"\n\n\r\n", r"is empty"),
]


@pytest.mark.parametrize(("name", "content", "message"), OTHER_KINDS, ids=[case[2][:30] for case in OTHER_KINDS])
def test_files_of_another_kind(ingest, tmp_path, configured, name, content, message) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"rows\.csv: (expected CSV in UTF-8, )?{message}"):
        ingest(configured(), [tmp_path / name])


def test_gzip_by_any_spelling_of_the_name(ingest, tmp_path, configured) -> None:
    (tmp_path / "DATA.CSV.GZ").write_bytes(gzip.compress(f"{HEAD}a,0,1,c\n".encode()))
    assert ingest(configured(), [tmp_path / "DATA.CSV.GZ"]).report.rows_kept == 1


def test_a_line_without_end(monkeypatch) -> None:
    monkeypatch.setattr("noisy_gru.data.reading.csv_records.MOST_LINE_BYTES", 1000)
    with pytest.raises(DataError, match=r"rows\.csv: line 2: is longer than"):
        read("a,b\n" + "1" * 5000, 100)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_are_named(separator: str) -> None:
    with pytest.raises(DataError, match=r"rows\.csv: line 1: expected commas between the cells; the header has"):
        read(HEAD.replace(",", separator) + "a;0;1,5;c\n")


def test_lines_of_commas_do_not_blur_guessed_types(table) -> None:
    found = preview_files([table("id,t,x\na,0,1.5\n,,\nb,1,\n")])
    assert {name: str(kind) for name, kind in found.types.items()} == {"id": "string", "t": "int64", "x": "double"}
    assert found.sample["t"].tolist() == [0, 1]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.lists(st.sampled_from(['"', ",", "\n", "\r", "\0", "\ufeff", "a", "1", "é", "a,1,2,c\n"]), max_size=40),
    block=st.integers(1, 40),
)
@example(text=["\n", "\ufeff", '"', "a,1,2,c\n", "a,1,2,c\n"], block=1)
def test_arrow_reads_the_same_wherever_a_block_ends(tmp_path, configured, text: list[str], block: int) -> None:
    (tmp_path / "rows.csv").write_bytes((HEAD + "".join(text)).encode())
    columns, source = Columns.of(configured()), Source(str(tmp_path / "rows.csv"), "rows.csv", "csv")
    found = []
    for size in (block, 1 << 20):
        blocks = list(read_csv(source, columns, columns.required(), block_bytes=size))
        rows = [row for each in blocks for row in each.rows.tolist()]
        malformed = [found for each in blocks for found in each.malformed]
        cells = [cells for each in blocks for cells in each.table.to_pylist()]
        assert sorted(rows + [each.row for each in malformed]) == list(range(1, len(rows) + len(malformed) + 1))
        found.append((rows, malformed, cells))
    assert found[0] == found[1]


def test_a_byte_order_mark_between_rows(ingest, tmp_path, configured) -> None:
    (tmp_path / "rows.csv").write_text(f"\ufeff\ufeff{HEAD}a,0,1,c\n\ufeffa,1,2,c\na,2,3,c\n")
    found = ingest(configured(), [tmp_path / "rows.csv"])
    assert found.by_id["a"]["time"] == [0, 2]
    assert [(line["line"], line["problem"][:17]) for line in found.lines] == [(3, "a byte order mark")]


@pytest.mark.parametrize("name", ["part.csv", "part.csv.gz", "part.parquet"])
def test_a_folder_that_matches_is_told_what_it_is(ingest, tmp_path, configured, name) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=rf"^{name}: can't be read as a .*: it is a folder\. Name the files in it"):
        ingest(configured(), [tmp_path / name])


@pytest.mark.parametrize(
    ("text", "whole"), [(HEAD + "a,0,1,c\n", True), (HEAD + "a,0,1,c\r", True), (HEAD + "a,0", False)]
)
def test_whether_the_last_line_is_complete(tmp_path, text: str, whole: bool) -> None:
    (tmp_path / "rows.csv").write_text(text, newline="")
    assert ends_with_line_end(Source(str(tmp_path / "rows.csv"), "rows.csv", "csv")) == whole
