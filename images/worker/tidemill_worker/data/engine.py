"""The DuckDB connection that inputs are loaded into and user SQL runs in, and what its errors say.

One thread and UTC: sums of doubles and the order of rows are then the same on every machine, and so is the digest.
The database is a file: tables are kept there compressed, and only what is being worked on is in memory.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb

_LIMIT_SHARE = 0.6
"""DuckDB's share of the container's memory; Python, Arrow and the writer need the rest. More spills to disk."""
DATABASE = "tables.duckdb"


def connect(folder: Path, memory_bytes: int) -> duckdb.DuckDBPyConnection:
    """A fresh database in a folder, which also holds what sorts and joins cannot keep in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / DATABASE
    for old in (file, file.with_name(f"{file.name}.wal")):
        old.unlink(missing_ok=True)
    connection = duckdb.connect(str(file))
    limit = max(128 << 20, int(memory_bytes * _LIMIT_SHARE))
    for name, value in {
        "threads": "1",
        "memory_limit": f"'{limit // (1 << 20)}MiB'",
        "temp_directory": literal(str(folder / "spill")),
        "fsync_mode": "'NONE'",  # who looks at the file after a crash? a new pod begins anew
        "TimeZone": "'UTC'",
        "preserve_insertion_order": "true",
        # Parquet's statistics leave NaN out, and DuckDB 2.0 takes isnan() for false by them (also in views, also as x = 'nan')
        "disabled_optimizers": "'statistics_propagation'",
        "errors_as_json": "true",
        "python_enable_replacements": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
    }.items():
        connection.execute(f"SET {name} = {value}")
    return connection


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """From here on no file, no network, no extension and no change of settings; random() is made repeatable."""
    connection.execute("SELECT setseed(0.5)").fetchall()
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def quote(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def columns(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Column → type of a table, in order."""
    rows = connection.execute(f"DESCRIBE SELECT * FROM {quote(table)}").fetchall()
    return {row[0]: row[1] for row in rows}


def first_row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...] | None:
    """The first row. Everything is fetched: a result left open would block the connection."""
    rows = connection.execute(query).fetchall()
    return tuple(rows[0]) if rows else None


def drop(connection: duckdb.DuckDBPyConnection, *tables: str) -> None:
    """Drop tables, and let what comes next use their place in the file."""
    for table in tables:
        connection.execute(f"DROP TABLE {quote(table)}")
    if tables:
        connection.execute("CHECKPOINT")


def count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    """Rows of a table."""
    row = first_row(connection, f"SELECT count(*) FROM {quote(table)}")
    return int(row[0]) if row else 0


def is_numeric(kind: str) -> bool:
    """Whether a type is a number."""
    return is_integer(kind) or kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL")


def is_integer(kind: str) -> bool:
    """Whether a type is a whole number."""
    return bool(re.fullmatch(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?", kind))


def is_time(kind: str) -> bool:
    """Whether a type is a point in time."""
    return kind == "DATE" or kind.startswith("TIMESTAMP")


class SqlProblem:
    """A DuckDB error as message, byte position in the statement, and what kind it is."""

    def __init__(self, error: duckdb.Error) -> None:
        text = str(error)
        _, _, rest = text.partition(": ")
        self.position: int | None = None
        self.kind = ""
        try:
            details = json.loads(rest)
        except ValueError:
            self.message = rest or text
        else:
            self.message = str(details.get("exception_message", text))
            self.kind = str(details.get("error_subtype", ""))
            if "position" in details:
                self.position = int(details["position"])
        self.message = re.sub(r"\n\nLINE \d+:.*", "", self.message, flags=re.DOTALL)
        self.message = re.split(r"\n\tCandidate functions:", self.message)[0]
        self.message = re.sub(r"\s*\n\s*", ". ", self.message.strip()).replace("!.", "!")

    def place(self, statement: str, offset: int = 0) -> str:
        """`line 2, column 7` within the user's text, which begins at the byte `offset` of the statement."""
        return place(statement, self.position, offset)


def place(statement: str, position: int | None, offset: int = 0) -> str:
    """A byte position as `line 2, column 7` within the user's text, which begins at the byte `offset` of the statement."""
    if position is None or position >= 1 << 63:  # DuckDB's "nowhere" is the greatest number there is
        return ""
    before = statement.encode()[offset : max(offset, position)].decode(errors="replace")
    return f"line {before.count(chr(10)) + 1}, column {len(before) - (before.rfind(chr(10)) + 1) + 1}"
