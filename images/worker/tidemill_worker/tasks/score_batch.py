"""ScoreBatch: predictions for every row of a dataset, beside the row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.contract.names import PREDICTION_PREFIX
from tidemill.contract.results import BatchResult
from tidemill.contract.tasks import ScoreBatch
from tidemill_worker.artifact import Artifact, publish
from tidemill_worker.context import Context
from tidemill_worker.errors import DatasetEmpty
from tidemill_worker.model import tables, windows
from tidemill_worker.model.predictor import BATCH, Predictor
from tidemill_worker.recorded import ArtifactResult, recorded


def run(task: ScoreBatch, context: Context) -> ArtifactResult:
    """The scores that this task made before, or new ones."""
    return recorded(context, task, task.root, lambda: _score(task, context))


def _score(task: ScoreBatch, context: Context) -> BatchResult:
    context.tracker.phase("Downloading", 0.1, task.dataset.uri)
    predictor = Predictor.of(Artifact(context, task.artifact, name="model"), threads=context.environment.cpus)
    dataset = Artifact(context, task.dataset, name="dataset")
    place = context.folder("scores")
    total = 0
    for index, split in enumerate(task.splits):
        context.tracker.phase("Scoring", 0.2 + 0.7 * index / len(task.splits), split)
        table = _rows(predictor, dataset, split)
        outputs = predictor.run(table)
        if table.num_rows:
            for name, values in outputs.items():
                table = table.append_column(PREDICTION_PREFIX + name, _column(values))
            pq.write_table(
                table, place / f"{split}.parquet", compression="zstd", version="2.6", row_group_size=16 * BATCH
            )
        total += table.num_rows
    if not total:
        raise DatasetEmpty(f"{task.dataset.uri} has no row in {', '.join(task.splits)}: nothing to score")
    ref = publish(context, task, kind="scores", folder=place, root=task.root)
    return BatchResult(artifact=ref, rows=total)


def _rows(predictor: Predictor, dataset: Artifact, split: str) -> pa.Table:
    """The rows of a split; of a forecasting model the windows that end in it, whatever came after them."""
    if predictor.signature.forecast is not None:
        return windows.read_latest(dataset, predictor.signature, split).drop_columns([windows.SCALE])
    return tables.read_split(dataset, split)


def _column(values: np.ndarray) -> pa.Array:
    """One value a row as a plain column, several as a list."""
    if values.size == len(values):
        return _flat(values)
    rows = values.reshape(len(values), -1)
    return pa.FixedSizeListArray.from_arrays(_flat(rows), rows.shape[1])


def _flat(values: np.ndarray) -> pa.Array:
    flat = values.reshape(-1)
    if flat.dtype == object:
        return pa.array([v.decode() if isinstance(v, bytes) else v for v in flat], pa.string())
    return pa.array(flat)
