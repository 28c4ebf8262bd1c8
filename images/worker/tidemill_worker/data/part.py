"""What a Ray worker does: fetch one file, transform its rows as the Job itself would, and give them back as a database.

A DuckDB file keeps every type as it is, which neither parquet nor Arrow does. Ray is not known here.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

import tidemill.contract
from tidemill.contract.steps import Step
from tidemill_worker import data
from tidemill_worker.context import Stop
from tidemill_worker.data import engine, http, steps
from tidemill_worker.data.engine import literal, quote
from tidemill_worker.data.formats import Files
from tidemill_worker.data.transform import UNION
from tidemill_worker.data.union import selected
from tidemill_worker.errors import InvalidData, InvalidSpec, TaskError
from tidemill_worker.progress import Tracker

ROWS = "rows"
"""The table in the database that a part gives."""
END = 64 << 10
"""So many bytes of a file are fetched to find its footer in; most footers are shorter."""
_FILE = "_tidemill_file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One parquet file, and what is to be done with its rows."""

    name: str
    """Its URI, as the user knows it."""
    url: str
    """Where it can be fetched without credentials."""
    label: str
    """What messages begin with: `input flights`."""
    sha256: str | None
    """What it must have, when it is known."""
    end: str
    """Hash of its last END bytes, when its types were looked at."""
    kinds: Mapping[str, str]
    """Column → type of the input's files together."""
    union: Mapping[str, str]
    """Column → type of all inputs together."""
    steps: tuple[Step, ...]
    memory_bytes: int
    code: str
    """What `code` says where the plan was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A part's rows in their order, and what its file was."""

    database: bytes
    sha256: str
    file_bytes: int


def make(part: Part) -> Made:
    """Raises in the user's terms, as the local engine does."""
    if part.code != code():
        text = "spec.ray: a node has another version of Tidemill's image `ray` than the Job: rows could differ"
        raise InvalidSpec(f"{text}; give all nodes the same image", field="spec.ray")
    with tempfile.TemporaryDirectory(prefix="tidemill-") as folder:
        file = Path(folder) / "file.parquet"
        found = _fetched(part, file)
        size = file.stat().st_size
        work = Path(folder) / "work"
        connection = engine.connect(work, part.memory_bytes)
        try:
            files = Files({file: part.name}, "parquet", part.label)
            files.view(connection, _FILE, part.kinds)
            with _blamed(files, connection):
                rows = selected(_FILE, part.kinds, part.union)
                connection.execute(f"CREATE TABLE {quote(UNION)} AS {rows}")
            connection.execute(f"DROP VIEW {quote(_FILE)}")
            file.unlink()
            engine.lock(connection)
            steps.apply(connection, part.steps, UNION, ROWS)
        finally:
            connection.close()
        return Made(database=_alone(work, ROWS if part.steps else UNION), sha256=found, file_bytes=size)


def _fetched(part: Part, target: Path) -> str:
    """Bring the file here; returns its hash. It must be the one that the plan was made for."""
    try:
        found = http.download(part.url, target, tracker=Tracker(), stop=Stop())
    except TaskError as error:
        said = error.message.replace(http.shown(part.url), part.name)
        raise type(error)(f"{part.label}: on Ray's worker: {said}", field="spec.inputs") from error
    with target.open("rb") as file:
        file.seek(max(0, target.stat().st_size - END))
        same = end_of(file.read()) == part.end
    if not same or part.sha256 not in (None, found):
        raise InvalidData(f"{part.label}: {part.name} was changed while it was being read", field="spec.inputs")
    return found


def end_of(tail: bytes) -> str:
    """What stands for a file's last END bytes."""
    return hashlib.sha256(tail[-END:]).hexdigest()


@contextmanager
def _blamed(files: Files, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Around what reads a view of files: one that is bad is named."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise MemoryError(str(error)) from error
    except duckdb.Error as error:
        if bad := files.bad_file(connection):
            raise bad from error
        raise


def _alone(work: Path, table: str) -> bytes:
    """A database with nothing but the rows. Written by a connection of its own: that of the steps may open no file."""
    alone = work / "rows.duckdb"
    with duckdb.connect(str(work / engine.DATABASE)) as connection:
        connection.execute("SET threads = 1")
        connection.execute(f"ATTACH {literal(str(alone))} AS alone")
        connection.execute(f"CREATE TABLE alone.{quote(ROWS)} AS FROM {quote(table)}")
        connection.execute("DETACH alone")
    return alone.read_bytes()


def code() -> str:
    """What this code is, with the engine that it runs on: equal where equal rows come out."""
    hashed = hashlib.sha256(duckdb.__version__.encode())
    for package in (data, tidemill.contract):
        (root,) = package.__path__
        for path in sorted(Path(root).rglob("*.py")):
            hashed.update(path.read_bytes())
    return hashed.hexdigest()
