"""The API server's audit log as the measurements read it: each request once, when it was answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
APART = frozenset({"leases.coordination.k8s.io", "events", "events.events.k8s.io"})
"""Written whether or not there is anything to do: left out where it is asked if a controller still works."""

POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {
            "level": "None",
            "users": [
                "admin",
                "system:apiserver",
                "system:coredns",
                "system:kube-proxy",
                "system:kube-scheduler",
                "system:node:node",
            ],
        },
        {"level": "None", "nonResourceURLs": ["*"]},
        {"level": "Metadata"},
    ],
}
"""Unlike the cluster's own policy it keeps kube-controller-manager, which some controllers leave work to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, in the server's own time."""

    received: float
    answered: float
    user: str
    verb: str
    resource: str
    """`jobs.batch`, `jobs.batch/status`, `pods`."""
    name: str
    """Empty when the server makes the name (generateName)."""
    code: int

    @property
    def accepted(self) -> bool:
        """Whether the server did it."""
        return 200 <= self.code < 300

    @property
    def writes(self) -> bool:
        """Whether it asked for a change."""
        return self.verb in WRITES

    @property
    def works(self) -> bool:
        """Whether it is a write that shows that something is still being done."""
        return self.writes and self.resource.partition("/")[0] not in APART

    @property
    def call(self) -> str:
        """What is counted: `create jobs.batch`."""
        return f"{self.verb} {self.resource}"


def parse(line: str) -> Request:
    """A line of the log."""
    event = json.loads(line)
    target = event.get("objectRef") or {}
    resource = ".".join(part for part in (target.get("resource"), target.get("apiGroup")) if part) or "?"
    if subresource := target.get("subresource"):
        resource = f"{resource}/{subresource}"
    return Request(
        received=_time(event["requestReceivedTimestamp"]),
        answered=_time(event["stageTimestamp"]),
        user=event["user"]["username"],
        verb=event["verb"],
        resource=resource,
        name=target.get("name", ""),
        code=(event.get("responseStatus") or {}).get("code", 0),
    )


class Log:
    """A log that is still being written."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open()
        self._rest = ""
        self._requests: list[Request] = []

    def mark(self) -> int:
        """The number of requests until now, for `since`."""
        return len(self._read())

    def since(self, mark: int) -> list[Request]:
        """The requests after a mark."""
        return self._read()[mark:]

    def last_work(self) -> float:
        """When something was written last, 0 if never."""
        return max((r.answered for r in self._read() if r.works), default=0.0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self) -> list[Request]:
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        self._requests += [parse(line) for line in lines]
        return self._requests


def _time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
