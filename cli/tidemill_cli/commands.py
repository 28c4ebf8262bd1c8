"""What each command does: ask the API server, then the store, then say what was found."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tidemill.contract.manifest import Provenance
from tidemill_cli import lineage, page, store, text
from tidemill_cli.cluster import Cluster
from tidemill_cli.comparison import Details, compare, document
from tidemill_cli.errors import Failure, FileUnreadable, StoreUnreadable
from tidemill_cli.read import read_details, read_provenance
from tidemill_cli.runs import Run, by_start, read_run


def show_runs(options: Namespace, cluster: Cluster) -> None:
    """`runs`: a line for each."""
    runs = _selected(options, cluster)
    _write(options, _json([asdict(run) for run in runs]) if options.output == "json" else text.list_runs(runs))


def show_comparison(options: Namespace, cluster: Cluster) -> None:
    """`compare`: runs side by side."""
    runs = _named(options.runs, cluster) if options.runs else _selected(options, cluster)
    details, notes = [Details()] * len(runs), list[str]()
    if not options.no_store:
        try:
            reader = store.connect(cluster, endpoint=options.endpoint, secret=options.store_secret)
            details = [_details(reader, run, notes) for run in runs]
        except StoreUnreadable as error:
            notes.append(f"learning curves and intervals are missing: {error}")
    found = compare(runs, details, notes)
    if options.output == "table":
        _write(options, text.comparison_text(found))
    elif options.output == "json":
        _write(options, _json(document(found)))
    else:
        _write(options, page.render(found).rstrip("\n"))
    for note in found.notes:
        _note(note)


def _details(reader: store.Store, run: Run, notes: list[str]) -> Details:
    try:
        return read_details(reader, run)
    except FileUnreadable as error:
        notes.append(f"run {run.name}: learning curves and intervals are missing: {error}")
        return Details()


def show_lineage(options: Namespace, cluster: Cluster) -> None:
    """`lineage`: what a model version comes from."""
    version = cluster.get("ModelVersion", options.version)
    traced = lineage.trace(version, lambda name: cluster.find("TrainingRun", name), _Provenances(options, cluster))
    _write(options, _json(traced.document()) if options.output == "json" else lineage.tree(traced))


class _Provenances:
    """Reads provenance by folder, each once; when the store cannot be read that is said once."""

    def __init__(self, options: Namespace, cluster: Cluster) -> None:
        self._known: dict[str, Provenance | None] = {}
        self._reader: store.Store | None = None
        try:
            self._reader = store.connect(cluster, endpoint=options.endpoint, secret=options.store_secret)
        except StoreUnreadable as error:
            self._give_up(error)

    def __call__(self, uri: str) -> Provenance | None:
        if self._reader is None:
            return None
        if uri not in self._known:
            try:
                self._known[uri] = read_provenance(self._reader, uri)
            except StoreUnreadable as error:
                self._give_up(error)
                return None
        return self._known[uri]

    def _give_up(self, error: StoreUnreadable) -> None:
        self._reader = None
        _note(f"only what the API server knows: {error}")


def _named(names: Sequence[str], cluster: Cluster) -> list[Run]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Failure(f"named twice: {', '.join(twice)}")
    return [read_run(cluster.get("TrainingRun", name)) for name in names]


def _selected(options: Namespace, cluster: Cluster) -> list[Run]:
    """The runs that a selector and a model take, oldest first. Raises Failure when there is none."""
    runs = [read_run(obj) for obj in cluster.find_all("TrainingRun", options.selector or "")]
    found = [run for run in runs if options.model in (None, run.model)]
    if not found:
        wanted = " and ".join(
            [f"with labels {options.selector}"] * bool(options.selector)
            + [f"of model {options.model}"] * bool(options.model)
        )
        models = sorted({run.model for run in runs})
        instead = f"there are runs of {', '.join(models)}" if models else "another namespace is named by -n"
        raise Failure(f"no TrainingRun {wanted} in namespace {cluster.namespace}: {instead}".replace("  ", " "))
    return by_start(found)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _write(options: Namespace, answer: str) -> None:
    """To standard output, or to the file that was named."""
    if options.out is None:
        print(answer)
        return
    try:
        Path(options.out).write_text(answer + "\n", encoding="utf-8")
    except OSError as error:
        raise Failure(f"{options.out} cannot be written: {error.strerror}") from error


def _note(words: str) -> None:
    print(f"note: {words}", file=sys.stderr)
