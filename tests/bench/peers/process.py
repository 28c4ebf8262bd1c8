"""A controller as a process of the host: started, waited for, asked for its figures, stopped."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.peers.say import fail
from tests.bench.scale.operator_process import cpu_seconds, memory_mb

CERTIFICATES = "/tmp/k8s-webhook-server/serving-certs"
"""Compiled into the peers."""
READY_SECONDS = 120
STOP_SECONDS = 60
_SAMPLE = re.compile(r"^(\w+)(?:\{.*\})? ([-+.eE\d]+)$", re.MULTILINE)
_IN_OWN_MOUNTS = f'mkdir -p {CERTIFICATES}; mount --bind "$1" {CERTIFICATES}; shift; exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where a controller listens; some have one port for both health and metrics."""

    webhook: int
    health: int
    metrics: int


def free_ports() -> Ports:
    """Three ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(3)]
    try:
        for free in sockets:
            free.bind(("", 0))
        webhook, health, metrics = (free.getsockname()[1] for free in sockets)
    finally:
        for free in sockets:
            free.close()
    return Ports(webhook=webhook, health=health, metrics=metrics)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a process has used."""

    rss: float
    """MB of 2^20 bytes now."""
    peak: float
    """MB at most."""
    cpu: float
    """Seconds, user and system."""


def usage(pid: int) -> Usage:
    """Of a process that runs."""
    return Usage(rss=memory_mb(pid), peak=memory_mb(pid, "VmHWM"), cpu=cpu_seconds(pid))


class Process:
    """A controller that has been started."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        health: str,
        metrics: str,
        log: Path,
        webhook: int | None = None,
        certificates: Path | None = None,
    ) -> None:
        self.name, self._health, self._metrics, self._webhook, self._log = name, health, metrics, webhook, log
        if certificates:
            command = ["unshare", "--mount", "bash", "-ec", _IN_OWN_MOUNTS, "controller", str(certificates), *command]
        self.started = time.time()
        with log.open("a") as out:
            self._process = subprocess.Popen(
                command, cwd=log.parent, env={**os.environ, **environment}, stdout=out, stderr=out
            )

    @property
    def pid(self) -> int:
        """The controller's own: what runs before it in the same process is replaced by it."""
        return self._process.pid

    def ready(self) -> float:
        """Wait for /readyz and for the webhooks; seconds since the start."""
        while True:
            self.alive()
            if _get(self._health) is not None and (self._webhook is None or _listens(self._webhook)):
                return round(time.time() - self.started, 2)
            if time.time() - self.started > READY_SECONDS:
                fail(f"{self.name} is not ready after {READY_SECONDS} s:\n{self._tail()}")
            time.sleep(0.05)

    def alive(self) -> None:
        """Fail if it has ended."""
        if self._process.poll() is not None:
            fail(f"{self.name} has ended with {self._process.returncode}:\n{self._tail()}")

    def metrics(self, token: str | None) -> dict[str, float]:
        """Sums over the labels of each of its metrics; none while it does not answer."""
        sums: dict[str, float] = {}
        for name, value in _SAMPLE.findall(_get(self._metrics, token) or ""):
            sums[name] = sums.get(name, 0.0) + float(value)
        return sums

    def stop(self) -> None:
        """SIGTERM; SIGKILL if that is not enough."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tail(self) -> str:
        return f"{self._log}:\n{self._log.read_text(errors='replace')[-3000:]}"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _get(url: str, token: str | None = None) -> str | None:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    unchecked = ssl._create_unverified_context()  # the peers sign their metrics' certificates themselves
    try:
        with urllib.request.urlopen(request, context=unchecked, timeout=5) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return None
