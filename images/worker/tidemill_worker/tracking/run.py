"""A training as it is told: `run.json` at its start, each step as it comes, and the end."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from tidemill.contract.layout import join
from tidemill.contract.results import TrainResult
from tidemill.contract.tasks import TrainingTask
from tidemill.contract.tracking import METRICS_FILE, RUN_FILE, MlflowTracking, RunRecord, flatten
from tidemill_worker.artifact import versions
from tidemill_worker.context import Context
from tidemill_worker.errors import PeersLost
from tidemill_worker.tracking import mlflow
from tidemill_worker.tracking.mlflow import MlflowLogger, Opening, milliseconds
from tidemill_worker.tracking.mlflow_api import MlflowServer, authorization

_WARNING = 300
"""Characters of a warning: all of them must fit into a termination message."""


class TrackedRun:
    """One training, as a context manager around it. Only the store's failures come out of it, MLflow's never do."""

    def __init__(self, task: TrainingTask, context: Context, *, folder: str | None = None) -> None:
        """`folder` is the run's where the training has one of its own, as the best trial of a search has."""
        self._task, self._context, self._folder = task, context, folder or task.run_root
        self._record = _record(task, context)
        self._mlflow: MlflowLogger | None = None

    def __enter__(self) -> Self:
        self._context.store.put(join(self._folder, RUN_FILE), self._record.to_json().encode())
        if self._task.tracking is not None:
            self._mlflow = self._connect(self._task.tracking.mlflow)
        if self._mlflow is not None:
            self._context.tracker.watchers.append(self._mlflow.log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A process that is told to end, or that lost the others of its group, has not failed: the next one goes on."""
        if self._mlflow is None:
            return
        self._context.tracker.watchers.remove(self._mlflow.log)
        if isinstance(error, Exception) and not isinstance(error, PeersLost):
            self._mlflow.end("FAILED")

    def finished(self, result: TrainResult) -> TrainResult:
        """The training's result, with a warning when the tracking server was not told of everything."""
        if self._folder != self._task.run_root:
            measured = self._context.store.read(join(self._task.run_root, METRICS_FILE))
            self._context.store.put(join(self._folder, METRICS_FILE), measured, media_type="application/x-ndjson")
        if self._mlflow is None:
            return result
        metrics = {
            f"{split}/{name}": value for split, values in result.metrics.items() for name, value in values.items()
        }
        tags = {"tidemill.artifact.uri": result.artifact.uri, "tidemill.artifact.digest": result.artifact.digest}
        problem = self._mlflow.end("FINISHED", metrics, tags)
        if not problem:
            return result
        return result.model_copy(update={"warnings": (*result.warnings, self._warn(problem))})

    def _connect(self, spec: MlflowTracking) -> MlflowLogger | None:
        credentials = None
        if spec.secret_name is not None:
            credentials = authorization(self._context.environment.secret_dir / spec.secret_name)
            if credentials is None:
                self._warn(
                    f"Secret {spec.secret_name} has neither MLFLOW_TRACKING_TOKEN nor MLFLOW_TRACKING_USERNAME and "
                    "MLFLOW_TRACKING_PASSWORD"
                )
                return None
        record = self._record
        opening = Opening(
            name=self._task.owner.name,
            start=milliseconds(record.started_at),
            parameters={
                "dataset.uri": record.dataset_uri,
                "dataset.digest": record.dataset_digest,
                **{name: str(value) for name, value in record.parameters.items()},
            },
            tags={"mlflow.source.type": "JOB", "mlflow.source.name": record.image, "tidemill.owner": record.owner},
        )
        server = MlflowServer(spec.uri, credentials, timeout=mlflow.TIMEOUT)
        return MlflowLogger(
            server,
            spec,
            opening,
            self._context.store,
            folder=self._folder,
            measured=join(self._task.run_root, METRICS_FILE),
        )

    def _warn(self, problem: str) -> str:
        uri = self._task.tracking.mlflow.uri if self._task.tracking else ""
        text = f"MLflow at {uri} was not told of everything (the run's folder in the store has it): {problem}"
        text = text if len(text) <= _WARNING else text[: _WARNING - 1] + "…"
        self._context.tracker.warn(text)
        return text


def _record(task: TrainingTask, context: Context) -> RunRecord:
    trainer = task.trainer.model_dump(mode="json", by_alias=True, exclude_none=True)
    return RunRecord(
        owner=str(task.owner),
        dataset_uri=task.dataset.uri,
        dataset_digest=task.dataset.digest,
        parameters={"trainer": task.trainer_name, **flatten(trainer)},
        seed=task.trainer.seed,
        image=context.environment.image,
        versions=versions(),
        started_at=context.started_at,
    )
