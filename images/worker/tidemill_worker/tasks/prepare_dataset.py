"""PrepareDataset: read the inputs, transform, check, split, profile, store an immutable version."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb

from tidemill.contract.expectations import PREVIOUS
from tidemill.contract.layout import join
from tidemill.contract.names import EXPECTATIONS_FILE, QUARANTINE_FILE
from tidemill.contract.profile import Profile
from tidemill.contract.results import ColumnInfo, DatasetResult, ExpectationResult, UnchangedResult
from tidemill.contract.tasks import PrepareDataset, ResolvedInput
from tidemill_worker.artifact import Artifact, publish
from tidemill_worker.context import Context
from tidemill_worker.data import engine, expectations, http, inference_log
from tidemill_worker.data.changes import changes
from tidemill_worker.data.earlier import EarlierVersions
from tidemill_worker.data.expectations import Checked
from tidemill_worker.data.source_digest import source_digest
from tidemill_worker.data.sources import Loader
from tidemill_worker.data.split import split
from tidemill_worker.data.transform import Transformation
from tidemill_worker.data.write import need_storable, write_splits, write_table
from tidemill_worker.errors import DatasetEmpty, ExpectationFailed, InvalidData
from tidemill_worker.profile import build as profile
from tidemill_worker.profile import files
from tidemill_worker.profile.columns import in_a_few_words
from tidemill_worker.recorded import ArtifactResult, recorded

_RESULT, _SPLIT_TABLE = "_tidemill_result", "_tidemill_rows"


def run(task: PrepareDataset, context: Context) -> ArtifactResult | UnchangedResult:
    """The version that this very task made before, or a new one; none when the sources are still what the task knows."""
    if task.known_sources is not None and _sources(task, context) == task.known_sources:
        return _unchanged(task, context, task.known_sources)
    return recorded(context, task, task.root, lambda: _prepare(task, context))


def _sources(task: PrepareDataset, context: Context) -> str:
    context.tracker.phase("Listing")
    with duckdb.connect() as connection:
        return source_digest(Loader(context, connection), task.inputs)


def _unchanged(task: PrepareDataset, context: Context, sources: str) -> UnchangedResult:
    """Nothing has changed but the time: what depends on it is looked at again."""
    results: tuple[ExpectationResult, ...] = ()
    if task.previous is not None and any(e.freshness for e in task.expectations):
        artifact = Artifact(context, task.previous, name="dataset")
        if artifact.has(EXPECTATIONS_FILE):
            report = json.loads(artifact.fetch(EXPECTATIONS_FILE).read_bytes())
            results = expectations.check_freshness_again(report, task.expectations)
    return UnchangedResult(source_digest=sources, expectations=results)


def _prepare(task: PrepareDataset, context: Context) -> DatasetResult:
    sources = _sources(task, context)  # before they are read: what changes meanwhile is seen by the next look
    earlier = EarlierVersions(context, task.previous, task.earlier or ())
    folder = context.folder("dataset")
    connection = engine.connect(context.folder("spill"), context.environment.memory_bytes)
    try:
        result = _version(task, context, connection, earlier, folder)
    except (InvalidData, ExpectationFailed) as error:
        error.source_digest = sources
        raise
    finally:
        connection.close()
    before = earlier(PREVIOUS)
    different = None
    if before is not None and before.ref.digest != result.artifact.digest:
        context.tracker.phase("Comparing", 0.97, before.name)
        different = changes(before, folder, rows=sum(result.rows.values()))
    return result.model_copy(update={"source_digest": sources, "changes": different})


def _version(
    task: PrepareDataset,
    context: Context,
    connection: duckdb.DuckDBPyConnection,
    earlier: EarlierVersions,
    folder: Path,
) -> DatasetResult:
    loader, transformation = Loader(context, connection), Transformation.of(task, _RESULT)
    if task.ray is not None:  # only its own image has the library
        from tidemill_worker.data import over_ray

        transformation = over_ray.gather(task, task.ray, loader, transformation)
    for index, item in enumerate(task.inputs):
        if task.ray is not None and transformation.read_once(item.name):
            continue
        context.tracker.phase("Downloading", 0.3 * index / len(task.inputs), f"input {item.name}")
        if item.inference_log is not None:
            inference_log.load(loader, item.inference_log, item.name, index)
        else:
            loader.input(item, index, view=transformation.read_once(item.name))
    context.tracker.phase("Transforming", 0.3)
    if task.ray is None:
        transformation.gather(loader)
    engine.lock(connection)
    transformation.apply(connection)
    need_storable(connection, _RESULT, "spec.transform" if task.transform else "spec.inputs")
    if not engine.count(connection, _RESULT):
        raise DatasetEmpty(
            f"{task.owner}: no row is left" + (" after the transform" if task.transform else ": the inputs are empty"),
            field="spec.transform" if task.transform else "spec.inputs",
        )
    context.tracker.phase("Checking", 0.5)
    checked = expectations.check(
        connection,
        _RESULT,
        task.expectations,
        max_quarantined=task.max_quarantined,
        earlier=earlier,
    )
    kinds = engine.columns(connection, _RESULT)
    rows = split(connection, _RESULT, _SPLIT_TABLE, task.split)
    engine.drop(connection, _RESULT)
    described = profile.build(
        connection,
        _SPLIT_TABLE,
        kinds,
        rows,
        task.profile,
        split_time=task.split.by_time.column if task.split.by_time is not None else None,
        say=lambda share, words: context.tracker.phase("Profiling", 0.6 + 0.2 * share, words),
    )
    write_splits(connection, _SPLIT_TABLE, kinds, rows, folder)
    _write_checked(connection, checked, folder)
    files.write(
        described,
        task.profile,
        folder,
        say=lambda share, words: context.tracker.phase("Profiling", 0.85 + 0.1 * share, words),
    )
    ref = publish(context, _told(task), kind="dataset", folder=folder, root=task.root)
    return DatasetResult(
        artifact=ref,
        rows=rows,
        columns=_in_a_few_words(described),
        column_count=len(kinds),
        profile_uri=join(ref.uri, files.PAGE if task.profile.html else files.DATA),
        quarantined=checked.quarantined,
        expectations=checked.results,
    )


def _told(task: PrepareDataset) -> PrepareDataset:
    """The task as the provenance tells it: a URL's query may hold a signature, and whoever reads the version reads that."""

    def told(item: ResolvedInput) -> ResolvedInput:
        if item.http is None:
            return item
        return item.model_copy(update={"http": item.http.model_copy(update={"url": http.shown(item.http.url)})})

    return task.model_copy(update={"inputs": tuple(map(told, task.inputs))})


def _in_a_few_words(described: Profile) -> tuple[ColumnInfo, ...]:
    """The first twenty columns, for the Dataset's status."""
    return tuple(
        ColumnInfo(
            name=column.name,
            type=column.type,
            missing=column.missing_ratio,
            summary=in_a_few_words(column, described.total)[:100],
        )
        for column in described.columns[:20]
    )


def _write_checked(connection: duckdb.DuckDBPyConnection, checked: Checked, folder: Path) -> None:
    if checked.findings:
        (folder / EXPECTATIONS_FILE).write_text(json.dumps(checked.document(), indent=1, ensure_ascii=False))
    if checked.quarantined:
        columns = engine.columns(connection, expectations.QUARANTINE)
        write_table(connection, expectations.QUARANTINE, columns, folder / QUARANTINE_FILE)
