"""The few calls of MLflow's REST API 2.0 that tell a server of a run (https://mlflow.org/docs/latest/rest-api.html).

Plain HTTP instead of `mlflow-skinny`, which would bring 32 packages and 50 MB into the trainer's image and take three seconds
of CPU to import (docs/tracking.md).
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar
from urllib.parse import urlencode

from tidemill.contract.tracking import MLFLOW_PASSWORD, MLFLOW_TOKEN, MLFLOW_USERNAME

METRICS_A_CALL, OTHERS_A_CALL = 1000, 100
"""Limits of `runs/log-batch`: metrics, and both parameters and tags."""
_VALUE_LIMITS = {"params": 500, "tags": 5000}
"""Characters of a value: what servers from MLflow 1.28 on take."""
_KEY_LIMIT = 250
_LATER = {408, 429}
"""Answers that may be better another time, as are all from 500 on."""

State = Literal["RUNNING", "FINISHED", "FAILED"]
T = TypeVar("T")


class MlflowUnavailable(Exception):
    """The server does not answer, or cannot just now: worth another try."""


class MlflowRefused(Exception):
    """The server answers, but not to this: no try will be better."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One value at one step."""

    key: str
    value: float
    step: int
    timestamp: int
    """Milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the server has of a run."""

    steps: Mapping[str, int]
    """By metric: the greatest step."""
    parameters: frozenset[str]


def authorization(folder: Path) -> str | None:
    """The header that a Secret's keys make: a token, or user name and password; None when there is neither."""

    def text(key: str) -> str:
        try:
            return (folder / key).read_text().strip()
        except OSError:
            return ""

    if token := text(MLFLOW_TOKEN):
        return f"Bearer {token}"
    if (user := text(MLFLOW_USERNAME)) and (password := text(MLFLOW_PASSWORD)):
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would send the credentials along, wherever a redirect leads."""

    def redirect_request(self, *_: Any) -> None:
        return None


class MlflowServer:
    """One tracking server. Every call raises MlflowUnavailable or MlflowRefused, with the server's own words."""

    def __init__(self, uri: str, authorization: str | None, *, timeout: float) -> None:
        """`timeout`: seconds that the server may be silent within a call."""
        self.uri, self.timeout = uri.rstrip("/"), timeout
        self._headers = {"Content-Type": "application/json", "User-Agent": "tidemill"}
        if authorization is not None:
            self._headers["Authorization"] = authorization
        self._opener = urllib.request.build_opener(_NoRedirect)

    def experiment(self, name: str) -> str:
        """The id of the experiment of this name, which is made when there is none."""
        for _ in range(2):  # two runs may make it at the same time
            try:
                found = self._call("experiments/get-by-name", {"experiment_name": name}, method="GET")
                return str(found["experiment"]["experiment_id"])
            except _Missing:
                pass
            try:
                return str(self._call("experiments/create", {"name": name})["experiment_id"])
            except _Exists:
                continue
        raise MlflowRefused(f"experiment {name} exists and does not: was it deleted? Restore it, or name another one")

    def find_run(self, experiment_id: str, tag: str, value: str) -> str | None:
        """The id of the run with this tag."""
        wanted = f"tags.`{tag}` = '{value}'"
        document = {"experiment_ids": [experiment_id], "filter": wanted, "max_results": 1}
        runs = self._call("runs/search", document).get("runs") or ()
        return str(runs[0]["info"]["run_id"]) if runs else None

    def create_run(self, experiment_id: str, name: str, *, start: int, tags: Mapping[str, str]) -> str:
        """Begin a run at a time in milliseconds; its id."""
        document = {"experiment_id": experiment_id, "run_name": name, "start_time": start, "tags": _pairs("tags", tags)}
        return str(self._call("runs/create", document)["run"]["info"]["run_id"])

    def known(self, run_id: str) -> Known:
        """What the server has of a run."""
        data = self._call("runs/get", {"run_id": run_id}, method="GET")["run"].get("data") or {}
        return Known(
            steps={metric["key"]: int(metric.get("step") or 0) for metric in data.get("metrics") or ()},
            parameters=frozenset(parameter["key"] for parameter in data.get("params") or ()),
        )

    def log_metrics(self, run_id: str, metrics: Sequence[Metric]) -> None:
        """Values by step, in as many calls as their number needs."""
        for part in _parts(metrics, METRICS_A_CALL):
            values = [{"key": m.key, "value": m.value, "step": m.step, "timestamp": m.timestamp} for m in part]
            self._call("runs/log-batch", {"run_id": run_id, "metrics": values})

    def log_parameters(self, run_id: str, parameters: Mapping[str, str]) -> None:
        """Parameters, which can be set once."""
        for part in _parts(_pairs("params", parameters), OTHERS_A_CALL):
            self._call("runs/log-batch", {"run_id": run_id, "params": part})

    def log_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Tags, replacing those of the same name."""
        for part in _parts(_pairs("tags", tags), OTHERS_A_CALL):
            self._call("runs/log-batch", {"run_id": run_id, "tags": part})

    def update(self, run_id: str, state: State, *, end: int | None = None) -> None:
        """Say how the run stands, and when it ended, in milliseconds."""
        self._call("runs/update", {"run_id": run_id, "status": state, **({"end_time": end} if end else {})})

    def _call(self, path: str, document: Mapping[str, Any], method: str = "POST") -> dict[str, Any]:
        url, body = f"{self.uri}/api/2.0/mlflow/{path}", None
        if method == "GET":
            url += f"?{urlencode(document)}"
        else:
            body = json.dumps(document).encode()
        request = urllib.request.Request(url, data=body, headers=self._headers, method=method)
        try:
            with self._opener.open(request, timeout=self.timeout) as answer:
                raw = answer.read()
        except urllib.error.HTTPError as error:
            _refuse(error, path)
        except (OSError, HTTPException, ssl.SSLError) as error:
            reason = getattr(error, "reason", None) or error
            raise MlflowUnavailable(str(reason) or type(error).__name__) from error
        try:
            found = json.loads(raw or b"{}")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise MlflowRefused(f"its answer to {path} is no JSON: is there an MLflow server at this address?")
        return found


class _Missing(MlflowRefused):
    """There is nothing of that name."""


class _Exists(MlflowRefused):
    """The name is taken."""


def _refuse(error: urllib.error.HTTPError, path: str) -> NoReturn:
    raw = error.read()[:2000].decode(errors="replace")
    try:
        said = json.loads(raw)
        code, words = str(said.get("error_code", "")), str(said.get("message", ""))
    except (ValueError, AttributeError):
        code, words = "", " ".join(raw.split())[:200]
    if 300 <= error.code < 400:
        words = f"it redirects to {error.headers.get('Location', '?')}: name that address"
    message = f"{error.code} {code} on {path}: {words}".replace("  ", " ")
    if error.code >= 500 or error.code in _LATER:
        raise MlflowUnavailable(message) from error
    if code == "RESOURCE_DOES_NOT_EXIST":
        raise _Missing(message) from error
    if code == "RESOURCE_ALREADY_EXISTS":
        raise _Exists(message) from error
    raise MlflowRefused(message) from error


def _pairs(kind: Literal["params", "tags"], values: Mapping[str, str]) -> list[dict[str, str]]:
    limit = _VALUE_LIMITS[kind]
    return [
        {"key": key[:_KEY_LIMIT], "value": value if len(value) <= limit else value[: limit - 1] + "…"}
        for key, value in values.items()
    ]


def _parts(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
