"""PrepareDataset: read the inputs, transform, check, split, profile, store an immutable version."""

from __future__ import annotations

import json

import duckdb

from tidemill.contract.layout import join
from tidemill.contract.results import DatasetResult
from tidemill.contract.tasks import PrepareDataset
from tidemill_worker.artifact import publish
from tidemill_worker.context import Context
from tidemill_worker.data import engine, expectations, inference_log, profile_html, steps
from tidemill_worker.data.profile import column_info, profile
from tidemill_worker.data.sources import Loader
from tidemill_worker.data.split import split
from tidemill_worker.data.sql import select_into
from tidemill_worker.data.union import union
from tidemill_worker.data.write import write_splits
from tidemill_worker.errors import DatasetEmpty, InvalidSpec
from tidemill_worker.recorded import ArtifactResult, recorded

_UNION, _RESULT, _SPLIT_TABLE = "_tidemill_union", "_tidemill_result", "_tidemill_rows"


def run(task: PrepareDataset, context: Context) -> ArtifactResult:
    """The version that this very task made before, or a new one."""
    return recorded(context, task, task.root, lambda: _prepare(task, context))


def _prepare(task: PrepareDataset, context: Context) -> DatasetResult:
    connection = engine.connect(context.folder("spill"), context.environment.memory_bytes)
    try:
        return _version(task, context, connection)
    finally:
        connection.close()


def _version(task: PrepareDataset, context: Context, connection: duckdb.DuckDBPyConnection) -> DatasetResult:
    loader = Loader(context, connection)
    for index, item in enumerate(task.inputs):
        context.tracker.phase("Downloading", 0.3 * index / len(task.inputs), f"input {item.name}")
        if item.inference_log is not None:
            inference_log.load(loader, item.inference_log, item.name, index)
        else:
            loader.input(item, index)
    engine.lock(connection)
    context.tracker.phase("Transforming", 0.3)
    _transform(task, connection)
    if not engine.count(connection, _RESULT):
        raise DatasetEmpty(
            f"{task.owner}: no row is left" + (" after the transform" if task.transform else ": the inputs are empty"),
            field="spec.transform" if task.transform else "spec.inputs",
        )
    context.tracker.phase("Checking", 0.5)
    checked = expectations.check(connection, _RESULT, task.expectations)
    kinds = engine.columns(connection, _RESULT)
    rows = split(connection, _RESULT, _SPLIT_TABLE, task.split)
    context.tracker.phase("Profiling", 0.6)
    described = profile(connection, _SPLIT_TABLE, kinds, rows, task.profile.target)
    folder = context.folder("dataset")
    write_splits(connection, _SPLIT_TABLE, kinds, rows, folder)
    (folder / "profile.json").write_text(json.dumps(described, indent=1, ensure_ascii=False))
    if task.profile.html:
        (folder / "profile.html").write_text(profile_html.render(described))
    ref = publish(context, task, kind="dataset", folder=folder, root=task.root)
    total = sum(rows.values())
    return DatasetResult(
        artifact=ref,
        rows=rows,
        columns=tuple(column_info(entry, total) for entry in described["columns"][:20]),
        column_count=len(kinds),
        profile_uri=join(ref.uri, "profile.html" if task.profile.html else "profile.json"),
        expectations=checked,
    )


def _transform(task: PrepareDataset, connection: duckdb.DuckDBPyConnection) -> None:
    names = [item.name for item in task.inputs]
    if task.transform is not None and task.transform.sql is not None:
        select_into(connection, task.transform.sql, _RESULT)
    elif task.transform is not None and task.transform.steps is not None:
        union(connection, names, _UNION)
        steps.apply(connection, task.transform.steps, _UNION, _RESULT)
    else:
        union(connection, names, _RESULT)
    if not engine.columns(connection, _RESULT):
        raise InvalidSpec(f"{task.owner}: the transform gives no column", field="spec.transform")
