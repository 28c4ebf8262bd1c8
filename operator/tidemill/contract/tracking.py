"""What is kept of a run besides its model: what it was started with, its metrics by step, and where else these are told.

In the run's folder (`layout.run_root`) lie `run.json`, `metrics.jsonl` and, when the spec asks for MLflow, `mlflow.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, model_validator

from tidemill.contract.base import Document

RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
MLFLOW_FILE = "mlflow.json"

MLFLOW_TOKEN = "MLFLOW_TRACKING_TOKEN"
MLFLOW_USERNAME, MLFLOW_PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
MLFLOW_KEYS = (MLFLOW_TOKEN, MLFLOW_USERNAME, MLFLOW_PASSWORD)
"""Keys of the Secret, named as MLflow's own clients name the variables."""

Scalar = str | int | float | bool


class MlflowTracking(Document):
    """An MLflow tracking server that is told the run's parameters, metrics and the model's address; not the model itself.

    A server that does not answer neither fails nor slows the training: what it missed stands in `metrics.jsonl`, and a warning
    in the status. A run that resumes goes on with the same MLflow run.
    """

    uri: str = Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$", max_length=512)
    """The server's address, without credentials: `https://mlflow.example.org`."""
    experiment: str = Field(min_length=1, max_length=250)
    """The experiment that the run is logged to; it is made when there is none of this name."""
    secret_name: str | None = Field(default=None, min_length=1, max_length=253)
    """A Secret of the same namespace with `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and
    `MLFLOW_TRACKING_PASSWORD`."""


class Tracking(Document):
    """Where a run is logged besides the store and the status."""

    mlflow: MlflowTracking


class MlflowRun(Document):
    """`mlflow.json`: which run of the server this one is, so that a pod that resumes goes on with it."""

    uri: str = Field(pattern=r"^https?://")
    experiment_id: str
    run_id: str

    @property
    def page(self) -> str:
        """Where people look at it."""
        return f"{self.uri.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{self.run_id}"


class RunRecord(Document):
    """`run.json`: what a training was started with. It is there from the first step on, also of a run that never ends well."""

    owner: str
    """Kind, namespace and name of the resource."""
    dataset_uri: str
    dataset_digest: str
    parameters: dict[str, Scalar]
    """The trainer's fields by dotted name, see `flatten`."""
    seed: int | None = None
    image: str = ""
    versions: dict[str, str] = {}
    """Package → version of the libraries that decide the content."""
    started_at: str
    """RFC 3339, UTC, seconds; of a run that was resumed, when the newest pod began."""


class Measurement(Document):
    """Metrics at one step. As a line of `metrics.jsonl` they stand beside `step`, `epoch` and `time`, each by its name.

    Lines of before there were steps have an epoch only, which is their step.
    """

    step: int = Field(ge=0)
    """Counts up: the epoch, the boosting round … whatever the trainer repeats."""
    epoch: int | None = None
    """Passes over the training split, where there are such."""
    time: str = ""
    """RFC 3339, UTC, seconds."""
    values: dict[str, float] = {}
    """By name: loss, validationLoss, learningRate, seconds …"""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, line: Any) -> Any:
        """A line of the file: what is no field of its own is a metric; absent ones are written as null."""
        if not isinstance(line, dict) or "values" in line:
            return line
        own = set(cls.model_fields) - {"values"}
        values = {name: value for name, value in line.items() if name not in own and value is not None}
        return {"step": line.get("epoch"), **{k: v for k, v in line.items() if k in own}, "values": values}

    def line(self) -> dict[str, Any]:
        """As it stands in the file."""
        fixed = {"step": self.step, **({} if self.epoch is None else {"epoch": self.epoch})}
        return {**fixed, **self.values, "time": self.time}


class OwnMeasurement(Measurement):
    """Metrics at one step as a user's own code tells them: `{"step": 12, "steps": 500, "loss": 0.25}`."""

    steps: int | None = Field(default=None, ge=1)
    """Steps to do, at most: they tell how far it is."""
    epochs: int | None = Field(default=None, ge=1)
    """Epochs to do, at most."""

    def plain(self, *, now: str) -> Measurement:
        """As the run's folder keeps it."""
        return Measurement(step=self.step, epoch=self.epoch, time=self.time or now, values=self.values)


def read_measurements(text: str) -> tuple[Measurement, ...]:
    """The lines of a `metrics.jsonl`. Raises ValueError with the number of a line that is none."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            found.append(Measurement.model_validate_json(line))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            raise ValueError(f"line {number}: {first['msg']}") from error
    return tuple(found)


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Nested fields under dotted names, in their order; lists as JSON: {"a": {"b": [1, 2]}} gives {"a.b": "[1,2]"}."""
    flat: dict[str, Scalar] = {}
    for name, value in document.items():
        match value:
            case None:
                continue
            case Mapping():
                flat |= flatten(value, f"{prefix}{name}.")
            case str() | bool() | int() | float():
                flat[f"{prefix}{name}"] = value
            case _:
                flat[f"{prefix}{name}"] = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return flat
