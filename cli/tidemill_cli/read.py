"""What the store has of runs and artifacts, read file by file; a file that is missing is no failure."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from tidemill.contract.layout import join
from tidemill.contract.manifest import PROVENANCE, Provenance
from tidemill.contract.model import EVALUATION_FILE, Evaluation
from tidemill.contract.tracking import METRICS_FILE, MLFLOW_FILE, RUN_FILE, MlflowRun, RunRecord, read_measurements
from tidemill_cli.comparison import Details
from tidemill_cli.errors import FileUnreadable
from tidemill_cli.runs import Run
from tidemill_cli.store import Store

M = TypeVar("M", bound=BaseModel)


def read_details(store: Store, run: Run) -> Details:
    """What lies in the run's folder and beside its model. Raises StoreUnreadable."""
    if run.folder is None:
        return Details()
    lines = store.read(join(run.folder, METRICS_FILE)) or b""
    try:
        measurements = read_measurements(lines.decode())
    except ValueError as error:
        raise FileUnreadable(f"{join(run.folder, METRICS_FILE)}: {error}") from error
    found = _parse(store, join(run.artifact_uri, EVALUATION_FILE), Evaluation) if run.artifact_uri else None
    return Details(
        measurements=measurements,
        record=_parse(store, join(run.folder, RUN_FILE), RunRecord),
        mlflow=_parse(store, join(run.folder, MLFLOW_FILE), MlflowRun),
        intervals={split: more.intervals for split, more in found.details.items()} if found else {},
        confidence=found.confidence if found else None,
    )


def read_provenance(store: Store, uri: str) -> Provenance | None:
    """What made the artifact in a folder. Raises StoreUnreadable."""
    return _parse(store, join(uri, PROVENANCE), Provenance)


def _parse(store: Store, uri: str, model: type[M]) -> M | None:
    body = store.read(uri)
    if body is None:
        return None
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise FileUnreadable(f"{uri} is not a {model.__name__}: {error.errors()[0]['msg']}") from error
