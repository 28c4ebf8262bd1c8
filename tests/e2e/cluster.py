"""The cluster as the tests hold it: where it is, its images, its audit log."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOWN = 3


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that answers, with the environment that leads kubectl to it."""

    environment: dict[str, str]

    @property
    def audit_log(self) -> Path:
        """The API server's audit log (the embedded cluster's; one on other clusters is not ours to read)."""
        return Path(self.environment["KUBECONFIG"]).parent / "logs" / "audit.log"

    def image(self, name: str) -> str:
        """The full name of one of the project's images, by digest, loaded into the cluster if it is not there yet."""
        return _loaded(name)

    def images(self, *names: str) -> dict[str, dict[str, str]]:
        """The same for several, as the charts' values have them."""
        values: dict[str, dict[str, str]] = yaml.safe_load(hack("images", "digests", *names, seconds=60))["images"]
        hack("cluster", "load", *names, seconds=600)
        return values

    def audited(self, wanted: Callable[[dict[str, Any]], bool], *, since: int = 0) -> Iterator[dict[str, Any]]:
        """The requests in the audit log, from a place in it on, that are wanted."""
        with self.audit_log.open() as log:
            log.seek(since)
            for line in log:
                if line.endswith("\n"):  # else the server is still writing it
                    event = json.loads(line)
                    if wanted(event):
                        yield event

    def audit_position(self) -> int:
        """The audit log's present end; the test is skipped where there is none to read."""
        if not self.audit_log.exists():
            pytest.skip("only the embedded cluster's audit log can be read")
        return self.audit_log.stat().st_size

    @property
    def is_ours(self) -> bool:
        """Whether hack/cluster started it: then its nodes can be reached, not only its API server."""
        return "TIDEMILL_KUBECONFIG" not in os.environ

    def sigkill(self, container: str) -> None:
        """Kill a container's first process with SIGKILL, by the id in its pod's status."""
        hack("cluster", "sigkill", container, seconds=60)

    def host(self) -> str:
        """An address of this machine that the node of the embedded cluster reaches; the test is skipped on others."""
        network = Path(self.environment["KUBECONFIG"]).parent / "network"
        if not network.exists():
            pytest.skip("only the embedded cluster's node reaches a port of this machine by an address that is known")
        return f"10.200.{network.read_text().strip()}.1"

    def down(self) -> None:
        """End it."""
        hack("cluster", "down", seconds=120)


def connect() -> tuple[Cluster, bool]:
    """The running cluster, or a new one; and whether it is new."""
    status = subprocess.run([ROOT / "hack/cluster", "status"], capture_output=True, text=True, timeout=60, check=False)
    if status.returncode not in (0, DOWN):
        raise RuntimeError(f"hack/cluster status: {status.stderr}")
    line = hack("cluster", "up", seconds=1800).splitlines()[-1]
    found = dict(re.findall(r"(\w+)=(\S+)", line))
    environment = {name: value.replace("$PATH", os.environ["PATH"]) for name, value in found.items()}
    return Cluster(environment), status.returncode == DOWN


@cache
def _loaded(name: str) -> str:
    reference = hack("images", "reference", name, seconds=60)
    hack("cluster", "load", name, seconds=300)
    return reference


def hack(program: str, *arguments: str, seconds: float) -> str:
    """The output of `hack/PROGRAM ARGUMENTS…`, which must succeed."""
    done = subprocess.run(
        [ROOT / "hack" / program, *arguments], capture_output=True, text=True, timeout=seconds, check=False
    )
    if done.returncode:
        raise RuntimeError(f"hack/{program} {' '.join(arguments)}: {done.stderr}")
    return done.stdout.strip()
