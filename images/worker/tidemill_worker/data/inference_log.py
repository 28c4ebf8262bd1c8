"""The inference log as an input: requests that a Deployment answered, with labels that arrived late."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from tidemill.contract.names import COLUMN_REQUEST_ID, COLUMN_TIME, COLUMN_VERSION, INTERNAL_COLUMN_PREFIX
from tidemill.contract.sources import LabelSource
from tidemill.contract.tasks import ResolvedInferenceLog
from tidemill_worker.data import engine
from tidemill_worker.data.engine import literal, quote
from tidemill_worker.data.sources import Loader
from tidemill_worker.errors import ColumnMissing, DatasetEmpty, InvalidSpec, ObjectNotFound
from tidemill_worker.store import StoredObject, parse

_FOLDER = re.compile(r"/(\d{4}-\d{2}-\d{2})/(\d{2})/[^/]+\.parquet$")
_KEY = f"{INTERNAL_COLUMN_PREFIX}label_of"


def load(loader: Loader, log: ResolvedInferenceLog, table: str, index: int) -> None:
    """Load the log between `since` and `until`, join labels, keep the newest rows.

    The log of a month has tens of thousands of files. When only the newest rows are wanted, hours are read from the newest
    back, ever more of them at once, until there are enough rows (with labels, where these are asked for).
    """
    field, label = f"spec.inputs[{index}].inferenceLog", f"input {table}"
    since, until = _time(log.source.since, f"{field}.since"), _time(log.source.until, f"{field}.until")
    try:
        hours = _hours(loader, log.root.rstrip("/") + "/", since, until)
    except ObjectNotFound as error:
        raise ObjectNotFound(f"{label}: {error.message}", field=field) from error
    if not hours:
        raise DatasetEmpty(
            f"{label}: Deployment {log.source.deployment} has logged no request"
            f"{' in that time' if since or until else ''} yet under {log.root}: is spec.sampling on?",
            field=field,
        )
    connection, raw, wanted = loader.connection, f"_log_{table}", log.source.newest_rows
    labels = _labels(loader, log.source.labels, table, field=f"{field}.labels") if log.source.labels else None
    at_once = len(hours) if wanted is None else 1
    left = len(hours)
    while True:
        first = left == len(hours)
        left, end = max(left - at_once, 0), left
        files = [item for _, items in hours[left:end] for item in items]
        _append(loader, files, raw, first=first, label=label)
        kinds = engine.columns(connection, raw)
        for needed in (COLUMN_TIME, COLUMN_REQUEST_ID):
            if needed not in kinds:
                raise ColumnMissing(f"{label}: the files under {log.root} have no column {needed}", field=field)
        query = _between(raw, kinds, since, until)
        if labels is not None:
            query = labels.join(query, set(kinds), field=f"{field}.labels.s3.uri")
        if not left or (wanted is not None and _count(loader, query) >= wanted):
            break
        at_once = len(hours) - left
    newest = ""
    if wanted is not None:
        newest = f" ORDER BY {quote(COLUMN_TIME)} DESC, {quote(COLUMN_REQUEST_ID)} LIMIT {wanted}"
    connection.execute(f"CREATE TABLE {quote(table)} AS SELECT * FROM ({query}){newest}")
    connection.execute(f"DROP TABLE {quote(raw)}")
    if labels is not None:
        connection.execute(f"DROP TABLE {quote(labels.table)}")


def listing(loader: Loader, log: ResolvedInferenceLog, index: int) -> list[StoredObject]:
    """The objects that can hold what the input asks for, labels included."""
    field = f"spec.inputs[{index}].inferenceLog"
    since, until = _time(log.source.since, f"{field}.since"), _time(log.source.until, f"{field}.until")
    found = [item for _, items in _hours(loader, log.root.rstrip("/") + "/", since, until) for item in items]
    if labels := log.source.labels:
        found += loader.store_of(labels.s3, f"{field}.labels.s3").glob(labels.s3.uri)
    return found


def _hours(
    loader: Loader, root: str, since: datetime | None, until: datetime | None
) -> list[tuple[datetime, list[StoredObject]]]:
    """The files that can hold requests of the time asked for, by hour, the oldest first. A request is in its hour's folder."""
    start = parse(root)[1] + since.astimezone(UTC).strftime("%Y-%m-%d/%H/") if since else ""
    found: dict[datetime, list[StoredObject]] = {}
    for item in loader.context.store.objects(root, start_after=start):
        match = _FOLDER.search(item.uri)
        if not match:
            continue
        hour = datetime.fromisoformat(f"{match[1]}T{match[2]}:00:00+00:00")
        if until is not None and hour >= until:
            break  # keys come in order
        found.setdefault(hour, []).append(item)
    return sorted(found.items())


def _append(loader: Loader, files: list[StoredObject], raw: str, *, first: bool, label: str) -> None:
    """Load older files of whole hours before what is loaded already."""
    connection, older = loader.connection, f"{raw}_older"
    loader.files(loader.context.store, files, "parquet", older, label=label)
    kinds = engine.columns(connection, older)
    if {COLUMN_REQUEST_ID, COLUMN_TIME, COLUMN_VERSION} <= kinds.keys():
        # Agents store a row once. Should one not, the same request at the same microsecond is the same row; equal ones
        # are in the same hour. Requests without an id cannot be told apart and stay.
        key = ", ".join(quote(name) for name in (COLUMN_REQUEST_ID, COLUMN_TIME, COLUMN_VERSION))
        connection.execute(
            f"DELETE FROM {quote(older)} WHERE {quote(COLUMN_REQUEST_ID)} <> '' AND rowid NOT IN "
            f"(SELECT min(rowid) FROM {quote(older)} GROUP BY {key})"
        )
    if first:
        connection.execute(f"ALTER TABLE {quote(older)} RENAME TO {quote(raw)}")
        return
    both = f"SELECT * FROM {quote(older)} UNION ALL BY NAME SELECT * FROM {quote(raw)}"
    connection.execute(f"CREATE OR REPLACE TABLE {quote(raw)} AS {both}")
    connection.execute(f"DROP TABLE {quote(older)}")


def _between(raw: str, kinds: dict[str, str], since: datetime | None, until: datetime | None) -> str:
    where = []
    if since:
        where.append(f"{quote(COLUMN_TIME)} >= TIMESTAMPTZ {literal(since.isoformat())}")
    if until:
        where.append(f"{quote(COLUMN_TIME)} < TIMESTAMPTZ {literal(until.isoformat())}")
    selected = ", ".join(_value(name, kind) for name, kind in kinds.items())
    return f"SELECT {selected} FROM {quote(raw)}" + (f" WHERE {' AND '.join(where)}" if where else "")


def _count(loader: Loader, query: str) -> int:
    (number,) = loader.connection.execute(f"SELECT count(*) FROM ({query})").fetchall()[0]
    return int(number)


@dataclass(frozen=True, slots=True)
class _Labels:
    """A loaded table of labels, the newest of each request."""

    table: str
    uri: str
    key: str
    columns: tuple[str, ...]
    label: str

    def join(self, requests: str, taken: set[str], *, field: str) -> str:
        """The requests whose label has arrived, with the label files' other columns."""
        added = [column for column in self.columns if column != self.key and column not in taken]
        if not added:
            raise ColumnMissing(f"{self.label}: {self.uri} adds no column beside {self.key!r}", field=field)
        listed = ", ".join("l." + quote(column) for column in added)
        return (
            f"SELECT r.*, {listed} FROM ({requests}) r "
            f"JOIN {quote(self.table)} l ON CAST(r.{quote(COLUMN_REQUEST_ID)} AS VARCHAR) = l.{quote(_KEY)} "
            f"WHERE l.{quote(_KEY)} <> ''"  # requests without an id have an empty one: no label is theirs
        )


def _labels(loader: Loader, labels: LabelSource, table: str, *, field: str) -> _Labels:
    name, label = f"_labels_{table}", f"input {table}, labels"
    store = loader.store_of(labels.s3, f"{field}.s3")
    objects: list[StoredObject] = sorted(store.glob(labels.s3.uri), key=lambda o: (o.modified, o.uri))
    if not objects:
        raise ObjectNotFound(f"{label}: there is no object at {labels.s3.uri}", field=f"{field}.s3.uri")
    loader.files(store, objects, labels.s3.format, f"{name}_all", label=label)
    kinds = engine.columns(loader.connection, f"{name}_all")
    key = labels.request_id_column
    if key not in kinds:
        raise ColumnMissing(
            f"{label}: {labels.s3.uri} has no column {key!r}; its columns are {', '.join(kinds)}",
            field=f"{field}.requestIdColumn",
        )
    loader.connection.execute(
        f"CREATE TABLE {quote(name)} AS SELECT CAST({quote(key)} AS VARCHAR) AS {quote(_KEY)}, * FROM {quote(name + '_all')} "
        f"QUALIFY row_number() OVER (PARTITION BY CAST({quote(key)} AS VARCHAR) ORDER BY rowid DESC) = 1"
    )
    loader.connection.execute(f"DROP TABLE {quote(name + '_all')}")
    return _Labels(name, labels.s3.uri, key, tuple(kinds), label)


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
