"""Reads local files into DuckDB: parquet, CSV, JSON lines, Arrow IPC. NaN becomes null; a file that is bad is named."""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import duckdb
import pyarrow as pa

from tidemill_worker.data import arrow_ipc, engine
from tidemill_worker.data.engine import literal, quote
from tidemill_worker.errors import InvalidData

_COMPRESSED = (".gz", ".zst")
_LONGEST_HEADER = 4 << 20
_LONGEST_ROW, _BUFFER = 8 << 20, 32 << 20
"""Bytes of a CSV row, and what DuckDB reads at once: four rows, or it would take sixteen."""
_LONGEST_MESSAGE = 600
_FIRST_ROW = re.compile(rb'(?:[^"\r\n]+|"[^"]*")*(?=[\r\n])')
"""A line break within quotes does not end it."""


def local_name(number: int, form: str, name: str) -> str:
    """How the `number`-th file of an input is called here: DuckDB tells compression by the ending."""
    packed = PurePosixPath(name).suffix.lower()
    return f"{number:06d}.{form}{packed if packed in _COMPRESSED and form in ('csv', 'jsonl') else ''}"


@dataclass(frozen=True, slots=True)
class Files:
    """Local files of one input, each with the name that the user knows it by."""

    names: Mapping[Path, str]
    form: str
    label: str
    """What messages begin with: `input flights`."""

    def table(self, connection: duckdb.DuckDBPyConnection, table: str) -> None:
        """Read all into a new table."""
        if self.form == "arrow":
            arrow_ipc.load(connection, self.names, table, label=self.label)
            return
        options = self._csv_options(connection) if self.form == "csv" else ""
        with self._blamed(connection, options):
            connection.execute(f"CREATE TABLE {quote(table)} AS {self._clean(connection, options)}")

    def view(self, connection: duckdb.DuckDBPyConnection, table: str, kinds: Mapping[str, str] | None = None) -> None:
        """Show all as a view, which reads them whenever it is read; for parquet, whose parts can be read alone.

        `kinds`: the columns and types that these and other files have together.
        """
        with self._blamed(connection, ""):
            connection.execute(f"CREATE VIEW {quote(table)} AS {self._clean(connection, '', kinds)}")

    def kinds(self, connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
        """Column → type of all files together; of parquet files only the footers are read."""
        for path, name in self.names.items():
            try:
                _described(connection, _scan(self.form, [path], ""))
            except duckdb.Error as error:
                text = f"{self.label}: {name} cannot be read as {self.form}: {_words(error, {path: name})}"
                raise InvalidData(text) from error
        with self._blamed(connection, "", probe=False):
            return _described(connection, _scan(self.form, list(self.names), ""))

    @contextmanager
    def _blamed(self, connection: duckdb.DuckDBPyConnection, options: str, *, probe: bool = True) -> Iterator[None]:
        """A failure to read these files becomes InvalidData that names the file."""
        try:
            yield
        except duckdb.OutOfMemoryException as error:
            raise MemoryError(str(error)) from error
        except duckdb.Error as error:
            together = InvalidData(f"{self.label}: the files cannot be read together: {_words(error, self.names)}")
            raise (self.bad_file(connection, options) if probe else None) or together from error

    def _clean(
        self, connection: duckdb.DuckDBPyConnection, options: str, kinds: Mapping[str, str] | None = None
    ) -> str:
        """All rows, missing values as null whatever wrote the files."""
        scan = _scan(self.form, list(self.names), options)
        has = _described(connection, scan)
        if kinds is not None:
            there = {name.lower() for name in has}
            parts = (
                f"CAST({quote(n) if n.lower() in there else 'NULL'} AS {k}) AS {quote(n)}" for n, k in kinds.items()
            )
            scan = f"(SELECT {', '.join(parts)} FROM {scan})"
        floats = [quote(name) for name, kind in (kinds or has).items() if kind in ("FLOAT", "DOUBLE")]
        cleaned = ", ".join(f"CASE WHEN isnan({name}) THEN NULL ELSE {name} END AS {name}" for name in floats)
        return f"SELECT *{f' REPLACE ({cleaned})' if floats else ''} FROM {scan}"

    def bad_file(self, connection: duckdb.DuckDBPyConnection, options: str = "") -> InvalidData | None:
        """The first file that cannot be read by itself, as the exception it deserves."""
        for path, name in self.names.items():
            try:
                connection.execute(f"CREATE TEMP TABLE _probe AS FROM {_scan(self.form, [path], options)}")
                connection.execute("DROP TABLE _probe")
            except duckdb.OutOfMemoryException as error:
                raise MemoryError(str(error)) from error
            except duckdb.Error as error:
                return InvalidData(f"{self.label}: {name} cannot be read as {self.form}: {_words(error, {path: name})}")
        return None

    def _csv_options(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Fix the delimiter from the first header and check every row's width, or a broken row would change the dialect.

        What DuckDB would guess beyond that is fixed too: a row that begins with # is no comment, and 01/02/2013 no date, as
        nobody knows which and two files could be told apart by their days.
        """
        delimiter = ""
        for path, name in self.names.items():
            try:
                header = _header(path)
                width = len(
                    next(csv.reader(io.StringIO(header, newline=""), delimiter=delimiter or _delimiter(header)), ())
                )
            except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error) as error:
                raise InvalidData(f"{self.label}: {name} cannot be read as csv: {error}") from error
            if not header.strip():
                raise InvalidData(f"{self.label}: {name} is empty: it has not even a header line")
            delimiter = delimiter or _delimiter(header)
            shape = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(width))
            fixed = _dialect(delimiter)
            try:
                connection.execute(
                    f"SELECT count(*) FROM read_csv([{literal(str(path))}], auto_detect = false, strict_mode = true, "
                    f"{fixed}, columns = {{{shape}}})"
                ).fetchall()
            except duckdb.Error as error:
                raise InvalidData(
                    f"{self.label}: {name} cannot be read as csv: {_words(error, {path: name})}"
                ) from error
        return f"{_dialect(delimiter)}, sample_size = -1, dateformat = '%Y-%m-%d'"


def _described(connection: duckdb.DuckDBPyConnection, scan: str) -> dict[str, str]:
    """Column → type of what stands after FROM."""
    return {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE FROM {scan}").fetchall()}


def _scan(form: str, paths: list[Path], options: str) -> str:
    """The files as what stands after FROM."""
    listed = "[" + ", ".join(literal(str(path)) for path in paths) + "]"
    if form == "parquet":
        return f"read_parquet({listed}, union_by_name = true, hive_partitioning = false)"
    if form == "csv":
        return f"read_csv({listed}, union_by_name = true, hive_partitioning = false, {options})"
    return (
        f"read_json({listed}, format = 'newline_delimited', union_by_name = true, sample_size = -1, "
        "hive_partitioning = false)"
    )


def _dialect(delimiter: str) -> str:
    return (
        f"header = true, delim = {literal(delimiter)}, quote = '\"', escape = '\"', comment = '', skip = 0, "
        f"max_line_size = {_LONGEST_ROW}, buffer_size = {_BUFFER}"
    )


def _delimiter(header: str) -> str:
    """What stands most often between the header's names, not within their quotes."""
    return max(",;\t|", key=re.sub(r'"[^"]*"', "", header).count)


def _words(error: duckdb.Error, names: Mapping[Path, str]) -> str:
    """DuckDB's message without its settings, which are not the user's, and with the user's names of the files."""
    text = engine.SqlProblem(error).message
    for path, name in names.items():
        text = text.replace(str(path), name)
    for noise in ("Possible fixes:", "Possible solutions:", "Possible Solution:", "The search space used was:"):
        text = text.split(noise)[0]
    text = text.strip().rstrip(".")
    half = _LONGEST_MESSAGE // 2  # it quotes the row, and says what is wrong behind it
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:half]} … {text[-half:]}"


def _header(path: Path) -> str:
    """A text file's first line, unpacked."""
    found = b""
    with pa.input_stream(str(path), compression="detect") as stream:
        while not (row := _FIRST_ROW.match(found)) and len(found) < _LONGEST_HEADER and (chunk := stream.read(1 << 16)):
            found += chunk
    return (row[0] if row else found.partition(b"\n")[0]).decode("utf-8-sig")
