"""How far the task is: /progress for the operator, /metrics for Prometheus, from one small thread."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

from tidemill.contract.results import Progress, SearchSummary
from tidemill.contract.tracking import Measurement
from tidemill_worker import log


class Tracker:
    """The newest Progress, and the same as metrics. Thread-safe: the document is replaced as a whole."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._fraction = Gauge("tidemill_task_progress_ratio", "Share of the task that is done", registry=self.registry)
        self._epoch = Gauge("tidemill_training_epoch", "Epochs that are complete", registry=self.registry)
        self._loss = Gauge("tidemill_training_loss", "Loss of the last epoch", ["split"], registry=self.registry)
        self._read = Counter("tidemill_task_read_bytes", "Bytes read from the store", registry=self.registry)
        self._written = Counter("tidemill_task_written_bytes", "Bytes written to the store", registry=self.registry)
        self.current = Progress(phase="Starting", updated_at=log.now())
        self.warnings: tuple[str, ...] = ()
        self.scope: tuple[float, float, str] | None = None
        """Of a task that is a part of a greater one: where that part begins, its share, and what it is called."""
        self.search: SearchSummary | None = None
        """How the search stands, when the task is one."""
        self.watchers: list[Callable[[Measurement], None]] = []
        """Are told the metrics of every step, from the training's own thread: they return at once."""

    def warn(self, text: str) -> None:
        """What the user should know although the task goes on: logged, and said as long as there is nothing else to say."""
        self.warnings = (*self.warnings, text)
        self.current = self.current.model_copy(update={"message": text, "updated_at": log.now()})
        log.warn(text)

    def phase(self, phase: str, fraction: float = 0.0, message: str = "") -> None:
        """Enter a phase of the task."""
        said = message or "; ".join(self.warnings)
        self.current = self._within(
            Progress(phase=phase, fraction=min(1.0, fraction), message=said, updated_at=log.now())
        )
        self._fraction.set(self.current.fraction)
        log.info(phase, fraction=round(fraction, 3), detail=message)

    def _within(self, told: Progress) -> Progress:
        """The progress of the greater task."""
        if self.scope is None:
            return told.model_copy(update={"search": self.search})
        begin, share, name = self.scope
        message = f"{name}; {told.message}" if told.message else name
        fraction = min(1.0, begin + share * told.fraction)
        return told.model_copy(update={"fraction": fraction, "message": message, "search": self.search})

    def epoch(self, *, epoch: int, epochs: int, loss: float, validation_loss: float | None, fraction: float) -> None:
        """Report a complete epoch."""
        told = Progress(
            phase="Training",
            fraction=min(1.0, fraction),
            epoch=epoch,
            epochs=epochs,
            loss=loss,
            validation_loss=validation_loss,
            message="; ".join(self.warnings),
            updated_at=log.now(),
        )
        self.current = self._within(told)
        self._fraction.set(self.current.fraction)
        self._epoch.set(epoch)
        self._loss.labels("train").set(loss)
        if validation_loss is not None:
            self._loss.labels("validation").set(validation_loss)

    def tell(self, told: Progress) -> None:
        """Say what another process is doing."""
        self.current = told
        self._fraction.set(told.fraction)
        if told.epoch is not None:
            self._epoch.set(told.epoch)
        for split, loss in (("train", told.loss), ("validation", told.validation_loss)):
            if loss is not None:
                self._loss.labels(split).set(loss)

    def step(self, *, done: int, of: int) -> None:
        """Report a step of an epoch that is not complete yet."""
        told = self.current.model_copy(update={"message": f"step {done} of {of}", "updated_at": log.now()})
        if self.scope is None:
            told = told.model_copy(update={"fraction": 0.1 + 0.7 * done / of})
            self._fraction.set(told.fraction)
        self.current = told

    def measured(self, measurement: Measurement) -> None:
        """Tell whoever watches."""
        for watcher in self.watchers:
            watcher(measurement)

    def read(self, size: int) -> None:
        """Count bytes read from the store."""
        self._read.inc(size)

    def written(self, size: int) -> None:
        """Count bytes written to the store."""
        self._written.inc(size)


class _Server(ThreadingHTTPServer):
    """A caller that hangs up early is not a fault of the task: one line, no traceback."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if isinstance(error, ConnectionError):
            log.info("a caller of /progress or /metrics hung up", error=str(error))
        else:
            super().handle_error(request, client_address)


def serve(tracker: Tracker, port: int) -> ThreadingHTTPServer | None:
    """Serve in a daemon thread. A taken port is logged and does not stop the task: progress is a convenience."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/progress":
                body, kind = tracker.current.to_json().encode(), "application/json"
            elif self.path == "/metrics":
                body, kind = generate_latest(tracker.registry), CONTENT_TYPE_LATEST
            elif self.path == "/healthz":
                body, kind = b"ok\n", "text/plain"
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Scrapes are not worth a log line."""

    try:
        server = _Server(("", port), Handler)
    except OSError as error:
        log.warn("progress is not served", port=port, error=str(error))
        return None
    threading.Thread(target=server.serve_forever, name="progress", daemon=True).start()
    return server
