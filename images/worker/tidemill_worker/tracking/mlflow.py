"""Tells an MLflow server of a run, from a thread of its own: the training never waits for the server, nor fails with it.

Measurements wait in a queue of bounded length and go out together, at most once a second. After a failure, and when a pod
resumes, the server is asked for the last step that it has of each metric, and only later steps are sent: nothing is told twice.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import isfinite

from pydantic import ValidationError

from tidemill.contract.layout import join
from tidemill.contract.tracking import MLFLOW_FILE, Measurement, MlflowRun, MlflowTracking, read_measurements
from tidemill_worker import log
from tidemill_worker.errors import TaskError
from tidemill_worker.store import Store
from tidemill_worker.tracking.mlflow_api import Known, Metric, MlflowRefused, MlflowServer, MlflowUnavailable, State

TIMEOUT = 10.0
"""Seconds that the server may be silent within a call."""
PAUSE = 1.0
"""Seconds between two calls: an epoch of a millisecond is no reason for a thousand of them."""
FIRST, LONGEST = 1.0, 60.0
"""Seconds between two tries while the server does not answer: twice as many after each."""
FAREWELL = 15.0
"""Seconds that the end of a training waits for the server, at most; a server that was silent before gets one more try."""
QUEUE = 10_000
"""Measurements that wait, at most; then the oldest are dropped."""
_HOPELESS = (MlflowRefused, LookupError, TypeError, ValueError)
"""The server refuses, or its answer has another shape than it should."""
RUN_TAG = "tidemill.run"
"""The run's folder in the store: no other run has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What the server is told when the run begins."""

    name: str
    start: int
    """Milliseconds since 1970."""
    parameters: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ending:
    state: State
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


class MlflowLogger:
    """One run on one server."""

    def __init__(
        self, server: MlflowServer, spec: MlflowTracking, opening: Opening, store: Store, *, folder: str, measured: str
    ) -> None:
        """`folder` is the run's in the store; `measured` the file of what earlier pods measured, which need not exist."""
        self._server, self._spec, self._opening = server, spec, opening
        self._store, self._folder, self._measured = store, folder, measured
        self._waiting: deque[Measurement] = deque(maxlen=QUEUE)
        self._batch: list[Measurement] = []
        self._ending: _Ending | None = None
        self._changed = threading.Condition()
        self._run_id: str | None = None
        self._known: Known | None = None
        self._dropped = 0
        self.problem = ""
        """Why the server was not told of everything; empty while all is well."""
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def log(self, measurement: Measurement) -> None:
        """Have the server told of a step; returns at once."""
        with self._changed:
            self._dropped += len(self._waiting) == QUEUE
            self._waiting.append(measurement)
            self._changed.notify()

    def end(
        self, state: State, metrics: Mapping[str, float] | None = None, tags: Mapping[str, str] | None = None
    ) -> str:
        """Tell the rest, and how it ended; waits a few seconds at most. Returns what went wrong, "" when nothing did."""
        ending = _Ending(state=state, metrics=metrics or {}, tags=tags or {})
        with self._changed:
            self._ending = ending
            self._changed.notify()
        self._thread.join(FAREWELL)
        if self._thread.is_alive():
            return self.problem or f"it did not take everything within {FAREWELL:.0f} s of the end"
        if not self.problem and self._dropped:
            return f"it was silent for so long that {self._dropped} steps were dropped"
        return self.problem

    def _work(self) -> None:
        delay = FIRST
        while True:
            ending = self._collect()
            try:
                self._tell(ending)
            except _HOPELESS as error:
                self.problem = str(error) or type(error).__name__
                log.warn("MLflow refuses the run: it is told nothing more", uri=self._spec.uri, error=str(error))
                return
            except (MlflowUnavailable, TaskError) as error:  # the store's failures are tasks' errors
                if not self.problem:
                    log.warn("MLflow cannot be told just now", uri=self._spec.uri, error=str(error))
                silent_before, self.problem = bool(self.problem), str(error)
                self._known = None  # perhaps it heard us, and only its answer was lost
                if self._ending is not None and silent_before:
                    return
                self._rest(delay)
                delay = min(LONGEST, 2 * delay)
                continue
            if self.problem:
                log.info("MLflow answers again", uri=self._spec.uri)
            self.problem, delay = "", FIRST
            self._batch = []
            if ending is not None:
                return
            self._rest(PAUSE)

    def _collect(self) -> _Ending | None:
        """Wait for something to say, and take all of it; what could not be said before comes first."""
        with self._changed:
            while not (self._waiting or self._batch or self._ending or self._run_id is None):
                self._changed.wait()
            while self._waiting and len(self._batch) < QUEUE:
                self._batch.append(self._waiting.popleft())
            return None if self._waiting else self._ending

    def _rest(self, seconds: float) -> None:
        """So long, or until the run ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._ending is not None, timeout=seconds)

    def _tell(self, ending: _Ending | None) -> None:
        run_id = self._run_id or self._open()
        known = self._known
        if known is None:
            known = self._server.known(run_id)
            missing = {k: v for k, v in self._opening.parameters.items() if k not in known.parameters}
            self._server.log_parameters(run_id, missing)
        points = [p for m in self._batch for p in _metrics(m) if p.step > known.steps.get(p.key, -1)]
        self._server.log_metrics(run_id, points)
        steps = {**known.steps, **{point.key: point.step for point in points}}
        self._known = replace(known, steps=steps)
        if ending is None:
            return
        now, last = int(time.time() * 1000), max(steps.values(), default=0)
        self._server.log_metrics(run_id, [Metric(k, v, last, now) for k, v in ending.metrics.items() if isfinite(v)])
        self._server.log_tags(run_id, ending.tags)
        self._server.update(run_id, ending.state, end=now)

    def _open(self) -> str:
        """The run that an earlier pod began, or a new one; what an earlier pod measured comes first."""
        uri = join(self._folder, MLFLOW_FILE)
        run = _parse(self._store.read_or_none(uri))
        if run is None:
            experiment = self._server.experiment(self._spec.experiment)
            # A pod that died before it could note the run's id left a run with our tag.
            run_id = self._server.find_run(experiment, RUN_TAG, self._folder) or self._server.create_run(
                experiment,
                self._opening.name,
                start=self._opening.start,
                tags={RUN_TAG: self._folder, **self._opening.tags},
            )
            run = MlflowRun(uri=self._spec.uri, experiment_id=experiment, run_id=run_id)
            self._store.put(uri, run.to_json().encode())
            log.info("MLflow run", page=run.page)
        else:
            self._server.update(run.run_id, "RUNNING")
        earlier = self._store.read_or_none(self._measured) or b""
        first = self._batch[0].step if self._batch else None
        self._batch[:0] = [m for m in read_measurements(earlier.decode()) if first is None or m.step < first]
        self._run_id = run.run_id
        return run.run_id


def milliseconds(time: str) -> int:
    """Since 1970, of a time as RFC 3339 has it."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def _metrics(measurement: Measurement) -> list[Metric]:
    at = milliseconds(measurement.time)
    return [Metric(key, value, measurement.step, at) for key, value in measurement.values.items() if isfinite(value)]


def _parse(body: bytes | None) -> MlflowRun | None:
    if body is None:
        return None
    try:
        return MlflowRun.model_validate_json(body)
    except ValidationError as error:
        log.warn("unreadable mlflow.json is ignored", error=str(error))
        return None
