"""Loads the task's inputs into DuckDB tables: downloads, reads parquet, CSV and JSON lines, names the file that is bad."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb

from tidemill.contract.sources import S3Source
from tidemill.contract.tasks import ArtifactRef, ResolvedInput
from tidemill_worker import log
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context
from tidemill_worker.data import engine
from tidemill_worker.data.engine import literal, quote
from tidemill_worker.errors import AccessDenied, InvalidData, ObjectNotFound
from tidemill_worker.store import Store, StoredObject

SPLITS = ("train", "validation", "test")


class Loader:
    """Brings inputs in, one table each."""

    def __init__(self, context: Context, connection: duckdb.DuckDBPyConnection) -> None:
        self.context, self.connection = context, connection

    def store_of(self, source: S3Source, field: str) -> Store:
        """The namespace's store, or the one that the input names."""
        credentials, secret = None, "the namespace's store Secret"
        if source.secret_name is not None:
            secret = f"Secret {source.secret_name}"
            folder = self.context.environment.secret_dir / source.secret_name
            try:
                credentials = (
                    (folder / "AWS_ACCESS_KEY_ID").read_text().strip(),
                    (folder / "AWS_SECRET_ACCESS_KEY").read_text().strip(),
                )
            except OSError as error:
                raise AccessDenied(
                    f"{field}: {secret} must hold AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                    field=f"{field}.secretName",
                ) from error
        if credentials is None and source.endpoint is None:
            return self.context.store
        return Store.connect(self.context.tracker, endpoint=source.endpoint, credentials=credentials, secret=secret)

    def s3(self, source: S3Source, table: str, *, field: str, label: str) -> None:
        """Load the objects of an S3 source, by key."""
        store = self.store_of(source, field)
        try:
            objects = store.glob(source.uri)
            if not objects:
                raise ObjectNotFound(f"there is no object at {source.uri}")
            self.files(store, objects, source.format, table, label=label)
        except ObjectNotFound as error:
            raise ObjectNotFound(f"{label}: {error.message}", field=f"{field}.uri") from error
        except AccessDenied as error:
            where = f"{field}.secretName" if source.secret_name else f"{field}.uri"
            raise AccessDenied(f"{label}: {error.message}", field=where) from error

    def files(self, store: Store, objects: list[StoredObject], form: str, table: str, *, label: str) -> None:
        """Download objects and load them into one table, in their order."""
        folder = self.context.folder("inputs", table)
        suffix = {"parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl"}[form]

        def fetch(job: tuple[int, StoredObject]) -> tuple[Path, str]:
            number, item = job
            target = folder / f"{number:06d}{suffix}{'.gz' if item.uri.endswith('.gz') else ''}"
            self.context.inputs[item.uri] = "sha256:" + store.download(item.uri, target)
            return target, item.uri

        with ThreadPoolExecutor(max_workers=8) as pool:
            found = dict(pool.map(fetch, enumerate(objects)))
        log.info("input read", input=label, files=len(found), bytes=sum(o.size for o in objects))
        self.load(found, form, table, label=label)
        for path in found:
            path.unlink()

    def load(self, files: dict[Path, str], form: str, table: str, *, label: str) -> None:
        """Read local files (with the URIs that they came from) into a table; NaN becomes null."""
        paths = list(files)
        options = _csv_options(files, label, self.connection) if form == "csv" else ""
        try:
            self.connection.execute(f"CREATE TABLE {quote(table)} AS {_select(form, paths, options)}")
        except duckdb.OutOfMemoryException as error:
            raise MemoryError(str(error)) from error
        except duckdb.Error as error:
            raise self._blame(files, form, options, error, label) from error
        _nan_to_null(self.connection, table)

    def _blame(self, files: dict[Path, str], form: str, options: str, error: duckdb.Error, label: str) -> InvalidData:
        """Find the file that cannot be read."""
        for path, uri in files.items():
            try:
                self.connection.execute(f"CREATE TEMP TABLE _probe AS {_select(form, [path], options)}")
                self.connection.execute("DROP TABLE _probe")
            except duckdb.Error as alone:
                return InvalidData(f"{label}: {uri} cannot be read as {form}: {_words(alone, path, uri)}")
        text = engine.SqlProblem(error).message
        for path, uri in files.items():
            text = text.replace(str(path), uri)
        return InvalidData(f"{label}: the files cannot be read together: {text}")

    def dataset(self, ref: ArtifactRef, table: str, *, label: str) -> None:
        """Load all splits of a dataset version, one after the other."""
        artifact = Artifact(self.context, ref, name=f"dataset-{table}")
        files = {artifact.fetch(f"{split}.parquet"): f"{ref.uri}/{split}.parquet" for split in SPLITS}
        self.load(files, "parquet", table, label=label)

    def input(self, item: ResolvedInput, index: int) -> None:
        """Load one S3 or dataset input."""
        field, label = f"spec.inputs[{index}]", f"input {item.name}"
        if item.s3 is not None:
            self.s3(item.s3, item.name, field=f"{field}.s3", label=label)
        elif item.dataset is not None:
            self.dataset(item.dataset, item.name, label=label)


def _select(form: str, paths: list[Path], options: str) -> str:
    listed = "[" + ", ".join(literal(str(path)) for path in paths) + "]"
    if form == "parquet":
        return f"SELECT * FROM read_parquet({listed}, union_by_name = true, hive_partitioning = false)"
    if form == "csv":
        return f"SELECT * FROM read_csv({listed}, union_by_name = true, hive_partitioning = false, {options})"
    return (
        f"SELECT * FROM read_json({listed}, format = 'newline_delimited', union_by_name = true, sample_size = -1, "
        "hive_partitioning = false)"
    )


def _words(error: duckdb.Error, path: Path, uri: str) -> str:
    """DuckDB's message without its long list of settings, with the user's name of the file."""
    text = engine.SqlProblem(error).message.replace(str(path), uri)
    for noise in ("Possible fixes:", "Possible solutions:", "The search space used was:"):
        text = text.split(noise)[0]
    return text.strip().rstrip(".")


def _header(path: Path) -> str:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        return str(file.readline())


def _csv_options(files: dict[Path, str], label: str, connection: duckdb.DuckDBPyConnection) -> str:
    """Fix the delimiter from the first header and check every row's width, or a broken row would change the dialect."""
    delimiter = ""
    for path, uri in files.items():
        try:
            header = _header(path)
        except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
            raise InvalidData(f"{label}: {uri} cannot be read as csv: {error}") from error
        if not header.strip():
            raise InvalidData(f"{label}: {uri} is empty: it has not even a header line")
        delimiter = delimiter or max(",;\t|", key=header.count)
        width = len(next(csv.reader(io.StringIO(header), delimiter=delimiter)))
        shape = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(width))
        fixed = f"header = true, delim = {literal(delimiter)}, quote = '\"', escape = '\"'"
        try:
            connection.execute(
                f"SELECT count(*) FROM read_csv([{literal(str(path))}], auto_detect = false, strict_mode = true, "
                f"{fixed}, columns = {{{shape}}})"
            ).fetchall()
        except duckdb.Error as error:
            raise InvalidData(f"{label}: {uri} cannot be read as csv: {_words(error, path, uri)}") from error
    return f"header = true, delim = {literal(delimiter)}, quote = '\"', escape = '\"', sample_size = -1"


def _nan_to_null(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """NaN counts as missing everywhere, whatever wrote the file."""
    floats = [name for name, kind in engine.columns(connection, table).items() if kind in ("FLOAT", "DOUBLE")]
    for name in floats:
        column = quote(name)
        connection.execute(f"UPDATE {quote(table)} SET {column} = NULL WHERE isnan({column})")
