"""CSV as the world writes it: nothing is guessed that drops a row or changes a value, and errors stay short."""

from __future__ import annotations

import datetime as dt
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidemill_worker.data import engine
from tidemill_worker.data.formats import Files, local_name
from tidemill_worker.errors import InvalidData

Read = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads files of these contents as one input, with the memory of the smallest pod; gives the columns, and the rows."""

    def run(*bodies: str | bytes, name: str = "a.csv") -> list[tuple[Any, ...]]:
        connection, files = engine.connect(tmp_path / "db", 0), {}
        for number, body in enumerate(bodies):
            path = tmp_path / local_name(number, "csv", name)
            path.write_bytes(body if isinstance(body, bytes) else body.encode())
            files[path] = f"s3://raw/{number}-{name}"
        try:
            Files(files, "csv", "input a").table(connection, "t")
            kinds = [(column, kind.lower()) for column, kind in engine.columns(connection, "t").items()]
            found = connection.sql("FROM t").to_arrow_table().to_pylist()
            return [*kinds, *(tuple(row.values()) for row in found)]
        finally:
            connection.close()

    return run


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_row_that_begins_with_a_hash_is_a_row(read: Read, name: str) -> None:
    body = b"x,tag\n1,a\n#2,b\n#,\n3,c\n"
    found = read(gzip.compress(body) if name.endswith(".gz") else body, name=name)
    assert found[2:] == [("1", "a"), ("#2", "b"), ("#", None), ("3", "c")]


def test_dates_that_may_be_read_in_two_ways_stay_text(read: Read) -> None:
    """Of two files one would be read by days first, the other by months: each has its own guess."""
    found = read("at,x\n01/02/2023,1\n", "at,x\n02/25/2023,2\n")
    assert found == [("at", "varchar"), ("x", "bigint"), ("01/02/2023", 1), ("02/25/2023", 2)]


def test_dates_and_times_of_iso_8601(read: Read) -> None:
    found = read("d,t,z\n2023-01-31,2023-01-31T05:00,2023-07-31 05:00:00+02:00\n")
    assert [kind for _, kind in found[:3]] == ["date", "timestamp", "timestamp with time zone"]
    in_utc = read("z\n2023-03-26T02:30:00+02:00\n2023-10-29 02:30:00Z\n")[1:]  # hours that clocks skip or repeat
    assert [value.astimezone(dt.UTC).isoformat() for (value,) in in_utc] == [
        "2023-03-26T00:30:00+00:00",
        "2023-10-29T02:30:00+00:00",
    ]


def test_identifiers_keep_their_digits(read: Read) -> None:
    found = read("id,zip\n12345678901234567890,00501\n12345678901234567891,10001\n")
    assert found[2:] == [(12345678901234567890, "00501"), (12345678901234567891, "10001")]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ('"Last, First";age\n"x";2\n', ["Last, First", "age"]),
        ('"a, b, ""c""",d\ny,2\n', ['a, b, "c"', "d"]),
        ('"two\nlines",b\n1,2\n', ["two\nlines", "b"]),
        ("a,b\r1,2\r3,4\r", ["a", "b"]),
        ("\ufeffa,b\r\n1,2\r\n", ["a", "b"]),
        ("a,b\n1,2", ["a", "b"]),
        ("a,a,A\n1,2,3\n", ["a", "a_1", "A_2"]),
    ],
)
def test_headers(read: Read, body: str, names: list[str]) -> None:
    found = read(body)
    assert [name for name, _ in found[: len(names)]] == names
    assert len(found) > len(names), "the row below"


def test_a_file_without_rows_changes_no_type(read: Read) -> None:
    assert read("x,y\n1,2.5\n", "x,y\n", "x,y\n2,\n") == [("x", "bigint"), ("y", "double"), (1, 2.5), (2, None)]


def test_long_texts(read: Read) -> None:
    text = "word\n" * 1_000_000
    assert read(f'a,b\n"{text}",2\n')[2:] == [(text, 2)]


@pytest.mark.parametrize(
    ("bodies", "words"),
    [
        (["a,b\n" + "x" * 9_000_000 + ",2\n"], "Maximum line size"),
        (["a,b\n" + "x," * 50_000 + "\n"], "Expected Number of Columns: 2"),
        (["a\ntrue\n", "a\n1\n"], "Could not convert"),
        (["a,b\nM\u00fcller,2\n".encode("latin-1")], "not utf-8"),
        (["a,b\n1,2\n".encode("utf-16")], "utf-8"),
    ],
)
def test_errors_are_short_and_name_no_setting_of_duckdb(read: Read, bodies: list[Any], words: str) -> None:
    with pytest.raises(InvalidData) as caught:
        read(*bodies)
    message = caught.value.message
    assert words in message
    assert message.startswith("input a: ")
    assert len(message) < 800
    assert "ossible" not in message
    assert "=" not in message.replace("= ", "")
