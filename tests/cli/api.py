"""The API server as the plugin's tests need it: the real one, and for tests without a cluster one that answers as it does.

Both take the same objects and hand out kubeconfigs; the same tests run on both, so that the second cannot drift from the first.
"""

from __future__ import annotations

import copy
import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import yaml
from tests.e2e.apiserver import kubectl

Object = dict[str, Any]
Rights = Mapping[str, str]
"""Resource (`trainingruns.tidemill.dev`, `secrets`) → verbs, separated by commas."""

PLURALS = {"TrainingRun": "trainingruns", "ModelVersion": "modelversions", "Secret": "secrets", "Job": "jobs"}


class Api(Protocol):
    """A namespace on an API server."""

    namespace: str

    def add(self, obj: Object) -> Object:
        """Create an object, its status included; as it is then, with a UID."""

    def kubeconfig(self, rights: Rights | None = None, *, namespace: str | None = None) -> Path:
        """A kubeconfig of somebody who may do anything, or only this, in the namespace."""


class RealApi:
    """kube-apiserver, through kubectl."""

    def __init__(self, namespace: str, folder: Path, admin: Path) -> None:
        self.namespace, self._folder, self._admin = namespace, folder, admin

    def add(self, obj: Object) -> Object:
        """kubectl create; the status in a second step, as the API server wants it."""
        made = kubectl("create", "-n", self.namespace, "-f", "-", "-o", "json", stdin=json.dumps(obj))
        if "status" not in obj or obj["kind"] == "Secret":
            return dict(json.loads(made))
        plural, status = PLURALS[obj["kind"]], json.dumps({"status": obj["status"]})
        name, flags = obj["metadata"]["name"], ("--subresource=status", "--type=merge", "-o", "json", "-p", status)
        return dict(json.loads(kubectl("patch", plural, name, "-n", self.namespace, *flags)))

    def kubeconfig(self, rights: Rights | None = None, *, namespace: str | None = None) -> Path:
        """With rights: a ServiceAccount with a Role of just these, and its token."""
        config = yaml.safe_load(self._admin.read_text())
        for context in config["contexts"]:
            context["context"]["namespace"] = namespace or self.namespace
        if rights is not None:
            name = f"reader-{secrets.token_hex(3)}"
            kubectl("create", "serviceaccount", name, "-n", self.namespace)
            for number, (resource, verbs) in enumerate(rights.items()):
                role = f"{name}-{number}"
                kubectl("create", "role", role, "-n", self.namespace, f"--verb={verbs}", f"--resource={resource}")
                account = f"--serviceaccount={self.namespace}:{name}"
                kubectl("create", "rolebinding", role, "-n", self.namespace, f"--role={role}", account)
            token = kubectl("create", "token", name, "-n", self.namespace).strip()
            for user in config["users"]:
                user["user"] = {"token": token}
        return _write(self._folder, config)


class DoubleApi:
    """Answers GETs of objects and lists as kube-apiserver does, refusals included."""

    def __init__(self, namespace: str, folder: Path, server: str, state: _State) -> None:
        self.namespace, self._folder, self._server, self._state = namespace, folder, server, state

    def add(self, obj: Object) -> Object:
        """Keep it, with what the API server adds."""
        made = copy.deepcopy(obj)
        made["metadata"] |= {"namespace": self.namespace, "uid": f"uid-{len(self._state.objects)}"}
        self._state.objects.append(made)
        return made

    def kubeconfig(self, rights: Rights | None = None, *, namespace: str | None = None) -> Path:
        """The token says who it is."""
        token = secrets.token_hex(4)
        self._state.rights[token] = rights
        return _write(
            self._folder,
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "tests",
                "contexts": [
                    {
                        "name": "tests",
                        "context": {"cluster": "c", "user": "u", "namespace": namespace or self.namespace},
                    }
                ],
                "clusters": [{"name": "c", "cluster": {"server": self._server}}],
                "users": [{"name": "u", "user": {"token": token}}],
            },
        )


class _State:
    def __init__(self) -> None:
        self.objects: list[Object] = []
        self.rights: dict[str, Rights | None] = {}


@contextmanager
def double_api(folder: Path) -> Iterator[DoubleApi]:
    """One that answers as long as the block lasts."""
    state, namespace = _State(), "team"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = _answer(state, self.path, self.headers.get("Authorization") or "", namespace)
            raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: Any) -> None:
            """Not worth a line."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield DoubleApi(namespace, folder, f"http://127.0.0.1:{server.server_port}", state)
    finally:
        server.shutdown()
        server.server_close()


def _answer(state: _State, url: str, authorization: str, existing: str) -> tuple[int, Object | str]:
    parts = urlsplit(url)
    query = {key: value[0] for key, value in parse_qs(parts.query).items()}
    token = authorization.removeprefix("Bearer ")
    if token not in state.rights:
        return 401, _status(401, "Unauthorized", "Unauthorized")
    steps = parts.path.strip("/").split("/")
    group, rest = ("", steps[2:]) if steps[0] == "api" else (steps[1], steps[3:])
    namespace, rest = (rest[1], rest[2:]) if len(rest) > 2 else (rest[1], ["namespaces", rest[1]])
    plural, name = rest[0], rest[1] if len(rest) > 1 else None
    resource, verb = f"{plural}.{group}" if group else plural, "list" if name is None else "get"
    rights = state.rights[token]
    if rights is not None and verb not in rights.get(resource, "").split(","):
        where = f'in API group "{group}" in the namespace "{namespace}"'
        words = f'{resource} is forbidden: User "reader" cannot {verb} resource "{plural}" {where}'
        return 403, _status(403, "Forbidden", words)
    if plural == "namespaces":
        found = namespace == existing
        return (200, {"kind": "Namespace", "metadata": {"name": namespace}}) if found else _absent(resource, namespace)
    here = [o for o in state.objects if PLURALS[o["kind"]] == plural and namespace == existing]
    if name is not None:
        of_name = [o for o in here if o["metadata"]["name"] == name]
        return (200, of_name[0]) if of_name else _absent(resource, name)
    wanted = [pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair]
    chosen = [o for o in here if all((o["metadata"].get("labels") or {}).get(k) == v for k, v in wanted)]
    start, limit = int(query.get("continue") or 0), int(query.get("limit") or 500)
    more = str(start + limit) if start + limit < len(chosen) else ""
    kind = "JobList" if plural == "jobs" else "List"
    return 200, {"kind": kind, "metadata": {"continue": more}, "items": chosen[start : start + limit]}


def _absent(resource: str, name: str) -> tuple[int, Object]:
    return 404, _status(404, "NotFound", f'{resource} "{name}" not found')


def _status(code: int, reason: str, message: str) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
    }


def _write(folder: Path, config: Object) -> Path:
    path = folder / f"kubeconfig-{secrets.token_hex(3)}"
    path.write_text(yaml.safe_dump(config))
    return path
