"""kubectl, as a user would call it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from flightsdemo.terminal import Step

NAMESPACE = "flights"
Object = dict[str, Any]


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""


def run(*args: str, stdin: str | None = None) -> str:
    """kubectl with these arguments; its output. Raises DemoError with what it said."""
    done = subprocess.run(["kubectl", *args], input=stdin, capture_output=True, text=True)
    if done.returncode:
        raise DemoError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


def apply(*manifests: Mapping[str, Any]) -> None:
    """Server-side apply of manifests."""
    document = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
    run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(document))


def get(kind: str, name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
    """One object, or {} when there is none."""
    text = run("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
    return json.loads(text) if text.strip() else {}


def listed(kind: str, namespace: str = NAMESPACE, selector: str = "") -> list[dict[str, Any]]:
    """All objects of a kind in the namespace."""
    items: list[dict[str, Any]] = json.loads(run("get", kind, "-n", namespace, "-l", selector, "-o", "json"))["items"]
    return items


def condition(obj: Mapping[str, Any], type_: str) -> dict[str, Any]:
    """A condition of an object's status that speaks of its newest generation, or {}."""
    for found in obj.get("status", {}).get("conditions", ()):
        if found["type"] == type_ and found.get("observedGeneration", 0) >= obj["metadata"]["generation"]:
            return dict(found)
    return {}


def wait_ready(kind: str, name: str, *, step: Step, timeout: float = 300) -> dict[str, Any]:
    """Wait for condition Ready; shows progress. Raises DemoError when the object stalls or the time is over."""

    def check() -> dict[str, Any] | None:
        obj = get(kind, name)
        if not obj:
            step.update("not there yet")
            return None
        if condition(obj, "Ready").get("status") == "True":
            return obj
        if stalled := condition(obj, "Stalled"):
            raise DemoError(f"{kind} {NAMESPACE}/{name} stalled: {stalled['reason']}: {stalled.get('message', '')}")
        step.update(describe(obj))
        return None

    return until(check, f"{kind} {NAMESPACE}/{name} to be ready", timeout=timeout)


def describe(obj: Mapping[str, Any]) -> str:
    """A few words on where an object stands."""
    progress = obj.get("status", {}).get("progress")
    if progress:
        words = [progress["phase"], f"{progress.get('fraction', 0):.0%}"]
        if progress.get("epoch"):
            words.append(f"epoch {progress['epoch']}/{progress.get('epochs')}")
        if progress.get("loss") is not None:
            words.append(f"loss {progress['loss']:.4f}")
        return " ".join(words)
    ready = condition(obj, "Ready")
    return f"{ready.get('reason', 'Pending')} {ready.get('message', '')}".strip()


T = TypeVar("T")


def until(check: Callable[[], T | None], what: str, *, timeout: float, pause: float = 0.5) -> T:
    """The first result of `check` that is not None. Raises DemoError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        found = check()
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise DemoError(f"waited {timeout:.0f} s in vain for {what}")
        time.sleep(pause)


@contextmanager
def port_forward(service: str, port: int, namespace: str) -> Iterator[str]:
    """A loopback address that leads to a Service's port."""
    process = subprocess.Popen(
        ["kubectl", "port-forward", "-n", namespace, f"service/{service}", f":{port}", "--address", "127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.search(r"127\.0\.0\.1:(\d+)", line)
        if not match:
            raise DemoError(f"kubectl port-forward to {namespace}/{service}: {line.strip()}")
        yield f"127.0.0.1:{match[1]}"
    finally:
        process.terminate()
        process.wait()
