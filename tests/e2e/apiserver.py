"""The API server as tests see it: `kubectl` for what users type, `kubectl proxy` for plain JSON requests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GROUP_PATH = "/apis/tidemill.dev/v1alpha1"


def run(*command: str, stdin: str | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a program from the repository's root; its status is the caller's to judge."""
    return subprocess.run(
        command, cwd=ROOT, env=environment(), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
    )


def environment() -> dict[str, str]:
    """The process's environment, with the cluster that hack/cluster started unless KUBECONFIG names another."""
    env = dict(os.environ)
    if "KUBECONFIG" not in env:
        line = subprocess.run([ROOT / "hack/cluster", "env"], capture_output=True, text=True, timeout=30, check=False)
        if line.returncode:
            raise RuntimeError(f"no cluster: set KUBECONFIG or run hack/cluster up ({line.stderr.strip()})")
        for name, value in re.findall(r"(\w+)=(\S+)", line.stdout):
            env[name] = value.replace("$PATH", env["PATH"])
    return env


def kubectl(*arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
    """The output of a kubectl command that must succeed."""
    done = run("kubectl", *arguments, stdin=stdin, timeout=timeout)
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def eventually(what: str, check: Callable[[], Any], *, seconds: float = 60) -> Any:
    """The first true value of a check, asked every quarter of a second; fails with what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what} (last: {value!r})"
        time.sleep(0.25)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said."""

    status: int
    body: dict[str, Any]

    @property
    def message(self) -> str:
        """The message of a refusal."""
        return str(self.body.get("message", ""))


@dataclass(frozen=True, slots=True)
class Api:
    """JSON requests through a `kubectl proxy`."""

    url: str

    def request(
        self, method: str, path: str, body: Any = None, *, content: str = "application/json", **query: str
    ) -> Answer:
        """One request; refusals are answers, not exceptions."""
        params = "&".join(f"{k}={v}" for k, v in {"fieldValidation": "Strict", **query}.items())
        request = urllib.request.Request(
            f"{self.url}{path}{'?' + params if method != 'GET' else ''}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": content},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return Answer(response.status, json.load(response))
        except urllib.error.HTTPError as refusal:
            text = refusal.read().decode()
            # A path that is not served yet is answered in plain text.
            return Answer(refusal.code, json.loads(text) if text.startswith("{") else {"message": text.strip()})

    def create(self, manifest: dict[str, Any], namespace: str, **query: str) -> Answer:
        """Create an object of one of our kinds."""
        return self.request(
            "POST", f"{GROUP_PATH}/namespaces/{namespace}/{plural(manifest['kind'])}", manifest, **query
        )

    def merge(self, manifest: dict[str, Any], namespace: str, change: dict[str, Any], part: str = "") -> Answer:
        """Merge a change into an object, or into its subresource `part`."""
        return self.request(
            "PATCH", self.path(manifest, namespace) + part, change, content="application/merge-patch+json"
        )

    def path(self, manifest: dict[str, Any], namespace: str) -> str:
        """Where an object lives."""
        return f"{GROUP_PATH}/namespaces/{namespace}/{plural(manifest['kind'])}/{manifest['metadata']['name']}"


def plural(kind: str) -> str:
    """The plural of one of our kinds."""
    lower = kind.lower()
    return f"{lower[:-1]}ies" if lower.endswith("y") else f"{lower}s"


@contextmanager
def proxied() -> Iterator[Api]:
    """An Api on the cluster, for as long as the context lasts."""
    proxy = subprocess.Popen(
        ["kubectl", "proxy", "--port=0"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert proxy.stdout is not None
        line = proxy.stdout.readline()
        found = re.search(r"127\.0\.0\.1:\d+", line)
        assert found, f"kubectl proxy did not start: {line}"
        yield Api(f"http://{found[0]}")
    finally:
        proxy.terminate()
        proxy.wait(timeout=10)


@contextmanager
def temporary_namespace(name: str) -> Iterator[str]:
    """A namespace that is gone afterwards."""
    kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")
