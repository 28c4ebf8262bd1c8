"""Placements on an API server, the real one or the double: made, changed, deleted and looked at as the operator does."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tidemill.contract.names import API_VERSION, LABEL_POD
from tidemill.kube.config import Connection

PATH = "/apis/tidemill.dev/v1alpha1/namespaces/{}/modelplacements"


def eventually(what: str, check: Callable[[], Any], *, seconds: float = 90.0) -> Any:
    """The first true value of a check; fails with what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what} (last: {value!r})"
        time.sleep(0.02)


@dataclass(slots=True)
class Placing:
    """One pod's placements in one namespace."""

    connection: Connection
    namespace: str
    pod: str

    def create(self, deployment: str, *, track: str = "stable", **spec: Any) -> str:
        """Make a placement; returns its name."""
        name = f"{deployment}-{track}-{self.pod}"
        manifest = {
            "apiVersion": API_VERSION,
            "kind": "ModelPlacement",
            "metadata": {"name": name, "labels": {LABEL_POD: self.pod}},
            "spec": {"pool": "pool", "pod": self.pod, "deployment": deployment, "track": track, **_defaults(spec)},
        }
        self._call("POST", "", manifest)
        return name

    def change(self, name: str, **spec: Any) -> None:
        """Change a placement's spec."""
        if "version" in spec:
            spec = _defaults(spec)
        self._call("PATCH", f"/{name}", {"spec": spec})

    def delete(self, name: str) -> None:
        """Delete a placement."""
        self._call("DELETE", f"/{name}")

    def get(self, name: str) -> dict[str, Any]:
        """The whole object."""
        return self._call("GET", f"/{name}")

    def status(self, name: str) -> dict[str, Any]:
        """The status, empty before the first one was written."""
        found: dict[str, Any] = self.get(name).get("status") or {}
        return found

    def meddle(self, name: str, **status: Any) -> None:
        """Change a status as only the agent should."""
        self._call("PATCH", f"/{name}/status", {"status": status})

    def reached(self, name: str, state: str, *, version: int | None = None, seconds: float = 90.0) -> dict[str, Any]:
        """The status, once it speaks of the present spec and says so."""

        def check() -> dict[str, Any] | None:
            item = self.get(name)
            status: dict[str, Any] = item.get("status") or {}
            current = status.get("observedGeneration") == item["metadata"]["generation"]
            serving = (status.get("serving") or {}).get("version")
            return status if current and status.get("state") == state and version in (None, serving) else None

        try:
            found: dict[str, Any] = eventually(f"{name} is {state}", check, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; its status is {self.status(name)}") from None
        return found

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        url = urllib.parse.urlsplit(self.connection.server)
        connection: http.client.HTTPConnection
        if isinstance(self.connection.tls, ssl.SSLContext):
            connection = http.client.HTTPSConnection(url.netloc, context=self.connection.tls, timeout=10)
        else:
            connection = http.client.HTTPConnection(url.netloc, timeout=10)
        headers = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
        if self.connection.token is not None:
            headers["Authorization"] = f"Bearer {self.connection.token.get()}"
        text = None if body is None else json.dumps(body)
        connection.request(method, PATH.format(self.namespace) + path, body=text, headers=headers)
        response = connection.getresponse()
        answer = response.read().decode()
        connection.close()
        assert response.status < 400, f"{method} {path}: {response.status} {answer}"
        found: dict[str, Any] = json.loads(answer)
        return found


def _defaults(spec: dict[str, Any]) -> dict[str, Any]:
    return {"modelVersion": f"model-v{spec['version']}", **spec}
