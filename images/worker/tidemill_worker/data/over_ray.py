"""Reads the inputs on a Ray cluster, a file a task, and applies there the first steps as far as they work row by row.

The table that comes of it holds the same rows in the same order as the local engine's. From there on all goes as it goes
without Ray, so the version is the same. Types are found from the footers of the parquet files; no file is read here.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from tidemill.contract.engine import RayOptions
from tidemill.contract.layout import join
from tidemill.contract.tasks import PrepareDataset, ResolvedInput
from tidemill_worker import log
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context
from tidemill_worker.data import engine, part, rowwise, steps
from tidemill_worker.data.engine import literal, quote
from tidemill_worker.data.formats import Files
from tidemill_worker.data.part import Made, Part
from tidemill_worker.data.sources import SPLITS, Loader
from tidemill_worker.data.transform import UNION, Transformation
from tidemill_worker.data.union import common
from tidemill_worker.errors import AccessDenied, ColumnType, InvalidSpec, ObjectNotFound
from tidemill_worker.store import Store

_PARTS, _ONE = "_tidemill_parts", "_tidemill_part"
_AT_ONCE = 8
_VALID = 12 * 3600
"""Seconds that a worker may take until it begins to read a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """One parquet file of an input."""

    uri: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """An input with its files in their order, what each ends in, and the columns of all."""

    name: str
    store: Store
    files: Sequence[_File]
    ends: Sequence[str]
    kinds: dict[str, str]

    @property
    def label(self) -> str:
        return f"input {self.name}"


def gather(task: PrepareDataset, options: RayOptions, loader: Loader, transformation: Transformation) -> Transformation:
    """Make the table that the steps that are left begin with; returns the transformation that knows which these are."""
    context = loader.context
    if transformation.sql is not None:
        text = "spec.transform.sql: SQL needs all rows in one place: write it as steps, or use engine Local"
        raise InvalidSpec(text, field="spec.transform.sql")
    context.tracker.phase("Planning")
    connection = engine.connect(context.folder("plan"), context.environment.memory_bytes)
    try:
        wanted = [(index, item) for index, item in enumerate(task.inputs) if item.name in transformation.appended]
        sources = [_source(loader, connection, item, index) for index, item in wanted]
        union = common({source.name: source.kinds for source in sources}, _not_looked_at)
        done, kinds = _planned(connection, transformation, union)
    finally:
        connection.close()
    parts = _parts(sources, union, transformation, done, options)
    after = replace(transformation, done=done)
    _collect(loader, options, parts, sum(len(source.files) for source in sources), kinds, after)
    return after


def _source(loader: Loader, connection: duckdb.DuckDBPyConnection, item: ResolvedInput, index: int) -> _Source:
    """Look at an input's files: only their footers are read."""
    field, label = f"spec.inputs[{index}]", f"input {item.name}"
    if item.s3 is not None and item.s3.format == "parquet":
        store, objects = loader.objects(item.s3, field=f"{field}.s3", label=label)
        if not objects:
            raise ObjectNotFound(f"{label}: there is no object at {item.s3.uri}", field=f"{field}.s3.uri")
        found = [_File(uri=o.uri, size=o.size) for o in objects]
    elif item.dataset is not None:
        store, version = loader.context.store, item.dataset
        artifact = Artifact(loader.context, version, name=f"dataset-{item.name}")
        entries = [artifact.manifest.file(f"{split}.parquet") for split in SPLITS]
        found = [_File(uri=join(version.uri, e.path), size=e.size, sha256=e.sha256) for e in entries]
    else:
        text = "engine Ray reads S3 objects in parquet and Datasets: types of other formats show only when all rows are read"
        raise InvalidSpec(f"{field}: {text}; make a Dataset of this input, or use engine Local", field=field)
    folder = loader.context.folder("footers", item.name)
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        ends = list(pool.map(lambda job: _stand_in(store, job[1], folder / f"{job[0]:06d}"), enumerate(found)))
    stand_ins = Files({folder / f"{n:06d}": file.uri for n, file in enumerate(found)}, "parquet", label)
    log.info("input found", input=label, files=len(found), bytes=sum(file.size for file in found))
    return _Source(name=item.name, store=store, files=found, ends=ends, kinds=stand_ins.kinds(connection))


def _stand_in(store: Store, file: _File, path: Path) -> str:
    """A file of the same length with the same footer and nothing else: it takes no place, and shows the same types."""
    tail = store.read_end(file.uri, file.size, part.END) if file.size else b""
    end = part.end_of(tail)
    footer = int.from_bytes(tail[-8:-4], "little") + 8
    if len(tail) < footer <= file.size:
        tail = store.read_end(file.uri, file.size, footer)
    with path.open("wb") as stand_in:
        stand_in.truncate(file.size)
        stand_in.seek(file.size - len(tail))
        stand_in.write(tail)
    return end


def _not_looked_at(table: str, condition: str) -> bool:
    text = (
        f"input {table}: whether its columns have the types of the first input's shows only when all rows are looked at"
    )
    raise ColumnType(
        f"{text} ({condition}), which engine Ray does not: store them with equal types, or use engine Local",
        field="spec.inputs",
    )


def _planned(
    connection: duckdb.DuckDBPyConnection, transformation: Transformation, union: dict[str, str]
) -> tuple[int, dict[str, str]]:
    """How many steps work row by row, and what columns they leave. They are tried on no rows: what is wrong is said now."""
    columns = ", ".join(f"{quote(name)} {kind}" for name, kind in union.items())
    connection.execute(f"CREATE TABLE {quote(UNION)} ({columns})")
    engine.lock(connection)
    done = rowwise.leading(connection, transformation.steps)
    steps.apply(connection, transformation.steps[:done], UNION, _PARTS)
    return done, engine.columns(connection, _PARTS if done else UNION)


def _parts(
    sources: Sequence[_Source], union: dict[str, str], transformation: Transformation, done: int, options: RayOptions
) -> Iterator[Part]:
    """The files in their order, each as soon as it is asked for: addresses are good for a time."""
    code = part.code()
    for source in sources:
        for file, end in zip(source.files, source.ends, strict=True):
            yield Part(
                name=file.uri,
                url=source.store.url(file.uri, _VALID),
                label=source.label,
                sha256=file.sha256,
                end=end,
                kinds=source.kinds,
                union=union,
                steps=transformation.steps[:done],
                memory_bytes=options.memory_bytes,
                code=code,
            )


def _collect(
    loader: Loader, options: RayOptions, parts: Iterator[Part], files: int, kinds: dict[str, str], after: Transformation
) -> None:
    """Have the parts made, and put their rows into one table, in their order."""
    context, connection = loader.context, loader.connection
    left = f"; step {after.done} and those after it run here" if after.done < len(after.steps) else ""
    said = f"{after.done} of {len(after.steps)} steps on Ray{left}"
    context.tracker.phase("Connecting", 0.0, options.server)
    columns = ", ".join(f"{quote(name)} {kind}" for name, kind in kinds.items())
    connection.execute(f"CREATE TABLE {quote(_PARTS)} ({columns})")
    asked = deque[Part]()

    def noted() -> Iterator[Part]:
        for each in parts:
            asked.append(each)
            yield each

    file = context.folder("parts") / "part.duckdb"
    _give_token(context, options)
    from tidemill_worker.data.ray_cluster import connected  # Ray looks for the token when it is imported

    with connected(options, context) as cluster:
        made: Made
        for number, made in enumerate(cluster.map(part.make, noted())):
            context.tracker.phase("Transforming", 0.5 * number / files, f"file {number + 1} of {files}, {said}")
            context.tracker.read(made.file_bytes)
            one = asked.popleft()
            if one.sha256 is None:
                context.inputs[one.name] = "sha256:" + made.sha256
            file.write_bytes(made.database)
            connection.execute(f"ATTACH {literal(str(file))} AS {_ONE} (READ_ONLY)")
            connection.execute(f"INSERT INTO {quote(_PARTS)} FROM {_ONE}.{quote(part.ROWS)}")
            connection.execute(f"DETACH {_ONE}")
            file.unlink()
    # row groups of a table that was made at once: what reads it is to find the rows packed as without Ray
    connection.execute(f"CREATE TABLE {quote(after.begin)} AS FROM {quote(_PARTS)}")
    engine.drop(connection, _PARTS)


def _give_token(context: Context, options: RayOptions) -> None:
    """Ray takes it from the environment only."""
    if options.secret_name is None:
        return
    try:
        token = (context.environment.secret_dir / options.secret_name / "token").read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        field = "spec.ray.secretName"
        raise AccessDenied(f"{field}: Secret {options.secret_name} must hold token", field=field) from error
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
