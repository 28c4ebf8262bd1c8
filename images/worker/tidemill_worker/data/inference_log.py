"""The inference log as an input: requests that a Deployment answered, with labels that arrived late."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from tidemill.contract.data import LabelSource
from tidemill.contract.names import COLUMN_REQUEST_ID, COLUMN_TIME, INTERNAL_COLUMN_PREFIX
from tidemill.contract.tasks import ResolvedInferenceLog
from tidemill_worker.data import engine
from tidemill_worker.data.engine import literal, quote
from tidemill_worker.data.sources import Loader
from tidemill_worker.errors import ColumnMissing, DatasetEmpty, InvalidSpec, ObjectNotFound
from tidemill_worker.store import StoredObject

_FOLDER = re.compile(r"/(\d{4}-\d{2}-\d{2})/(\d{2})/[^/]+\.parquet$")
_LATE = timedelta(hours=1)
"""A file may be written so long after the requests in it."""


def load(loader: Loader, log: ResolvedInferenceLog, table: str, index: int) -> None:
    """Load the log between `since` and `until`, join labels, keep the newest rows."""
    field, label = f"spec.inputs[{index}].inferenceLog", f"input {table}"
    since, until = _time(log.source.since, f"{field}.since"), _time(log.source.until, f"{field}.until")
    try:
        listed = loader.context.store.objects(log.root.rstrip("/") + "/")
        files = [o for o in listed if _within(o, since, until)]
    except ObjectNotFound as error:
        raise ObjectNotFound(f"{label}: {error.message}", field=field) from error
    if not files:
        raise DatasetEmpty(
            f"{label}: Deployment {log.source.deployment} has logged no request"
            f"{' in that time' if since or until else ''} yet under {log.root}: is spec.sampling on?",
            field=field,
        )
    raw = f"_log_{table}"
    loader.files(loader.context.store, files, "parquet", raw, label=label)
    connection = loader.connection
    kinds = engine.columns(connection, raw)
    for needed in (COLUMN_TIME, COLUMN_REQUEST_ID):
        if needed not in kinds:
            raise ColumnMissing(f"{label}: the files under {log.root} have no column {needed}", field=field)
    where = []
    if since:
        where.append(f"{quote(COLUMN_TIME)} >= TIMESTAMPTZ {literal(since.isoformat())}")
    if until:
        where.append(f"{quote(COLUMN_TIME)} < TIMESTAMPTZ {literal(until.isoformat())}")
    selected = ", ".join(_value(name, kind) for name, kind in kinds.items())
    filtered = f"SELECT {selected} FROM {quote(raw)}" + (f" WHERE {' AND '.join(where)}" if where else "")
    if log.source.labels is not None:
        filtered = _with_labels(loader, log.source.labels, filtered, set(kinds), table, field=f"{field}.labels")
    newest = ""
    if log.source.newest_rows is not None:
        newest = f" ORDER BY {quote(COLUMN_TIME)} DESC, {quote(COLUMN_REQUEST_ID)} LIMIT {log.source.newest_rows}"
    connection.execute(f"CREATE TABLE {quote(table)} AS SELECT * FROM ({filtered}){newest}")
    connection.execute(f"DROP TABLE {quote(raw)}")


def _with_labels(loader: Loader, labels: LabelSource, requests: str, taken: set[str], table: str, *, field: str) -> str:
    """The requests whose label has arrived, with the label files' other columns; the newest label wins."""
    name = f"_labels_{table}"
    label = f"input {table}, labels"
    store = loader.store_of(labels.s3, f"{field}.s3")
    objects: list[StoredObject] = sorted(store.glob(labels.s3.uri), key=lambda o: (o.modified, o.uri))
    if not objects:
        raise ObjectNotFound(f"{label}: there is no object at {labels.s3.uri}", field=f"{field}.s3.uri")
    loader.files(store, objects, labels.s3.format, name, label=label)
    kinds = engine.columns(loader.connection, name)
    key = labels.request_id_column
    if key not in kinds:
        raise ColumnMissing(
            f"{label}: {labels.s3.uri} has no column {key!r}; its columns are {', '.join(kinds)}",
            field=f"{field}.requestIdColumn",
        )
    added = [column for column in kinds if column != key and column not in taken]
    if not added:
        raise ColumnMissing(f"{label}: {labels.s3.uri} adds no column beside {key!r}", field=f"{field}.s3.uri")
    listed = ", ".join(quote(column) for column in added)
    newest = (
        f"SELECT CAST({quote(key)} AS VARCHAR) AS _key, {listed} FROM {quote(name)} "
        f"QUALIFY row_number() OVER (PARTITION BY CAST({quote(key)} AS VARCHAR) ORDER BY rowid DESC) = 1"
    )
    return (
        f"SELECT r.*, {', '.join('l.' + quote(column) for column in added)} FROM ({requests}) r "
        f"JOIN ({newest}) l ON CAST(r.{quote(COLUMN_REQUEST_ID)} AS VARCHAR) = l._key"
    )


def _value(name: str, kind: str) -> str:
    """A model sees empty text as missing; in a dataset missing is null."""
    if kind == "VARCHAR" and not name.startswith(INTERNAL_COLUMN_PREFIX):
        return f"nullif({quote(name)}, '') AS {quote(name)}"
    return quote(name)


def _time(text: str | None, field: str) -> datetime | None:
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidSpec(f"{field}: {text!r} is not a time: write it as 2026-01-31T00:00:00Z", field=field) from error
    return parsed.replace(tzinfo=parsed.tzinfo or UTC)


def _within(item: StoredObject, since: datetime | None, until: datetime | None) -> bool:
    """Whether a file can hold requests of the time asked for, judged by its hour's folder."""
    match = _FOLDER.search(item.uri)
    if not match:
        return False
    hour = datetime.fromisoformat(f"{match[1]}T{match[2]}:00:00+00:00")
    if since is not None and hour + timedelta(hours=1) <= since:
        return False
    return until is None or hour < until + _LATE
