"""Kubernetes clients for Python side by side on one API server: memory, CPU of the client's process, calls a second.

    hack/bench clients.run [--count 1000] [--stored 5000] [--rounds 3] [--clients NAME,…] [--out FILE]

Every step of every client is a process of its own, in the interpreter that `hack/bench peers` prints; the rounds go
through all clients in turn, so that what else the machine does hits all alike; each figure is the median of the rounds.
The cluster is the one of $KUBECONFIG, with the CRDs of crds/; without $KUBECONFIG one is started, and ended. Prints JSON,
then a Markdown table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import secrets
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from tests.bench.clients import objects
from tests.bench.clients.catalogue import ALL, STEPS
from tests.bench.clients.measure import calls
from tests.bench.clients.table import markdown
from tests.bench.scale.cluster import fresh

from tidemill.kube.client import Client
from tidemill.kube.config import load
from tidemill.kube.errors import ApiError

ROOT = Path(__file__).resolve().parents[3]
STEP_SECONDS = 300
LIBRARIES = (
    *("aiohttp", "httptools", "httpx", "kopf", "kr8s", "kubernetes"),
    *("kubernetes-asyncio", "lightkube", "msgspec", "orjson", "uvloop"),
)
Figures = dict[str, dict[str, dict[str, float]]]


async def _create(client: Client, path: str, body: dict[str, Any]) -> None:
    try:
        await client.request("create", path, kind=body["kind"], body=body)
    except ApiError as error:
        if not error.conflict:
            raise


async def namespaces(names: Iterable[str]) -> None:
    """Make namespaces."""
    async with Client(load()) as client:
        for name in names:
            await _create(
                client, "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            )


async def store(count: int) -> None:
    """Make the objects that are listed and watched."""
    async with Client(load(), connections=16) as client:
        runs, maps = objects.runs_path(objects.STORED), objects.config_maps_path(objects.STORED)

        async def create(path: str, body: dict[str, Any]) -> None:
            await _create(client, path, body)

        await calls(create, [(runs, objects.run(objects.STORED, n)) for n in range(count)])
        await calls(create, [(maps, objects.config_map(objects.STORED, n)) for n in range(count)])


async def remove(names: Iterable[str]) -> None:
    """Delete the namespaces with all that is in them."""
    async with Client(load()) as client:
        for name in names:
            await client.request("delete", f"/api/v1/namespaces/{name}", kind="Namespace")


def measured(python: str, name: str, step: str, *, count: int, stored: int, namespace: str) -> dict[str, float]:
    """One step in a process of its own."""
    command = [python, "-m", "tests.bench.clients.measure", name, step, "--namespace", namespace]
    done = subprocess.run(
        [*command, "--count", str(count), "--stored", str(stored)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'operator'}", **ALL[name].environment},
        capture_output=True,
        text=True,
        timeout=STEP_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name}, {step}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def middle(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {key: round(statistics.median(one[key] for one in rounds), 4) for key in rounds[0]}


def machine() -> dict[str, Any]:
    """Where this was measured."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {"cpu": model.partition(": ")[2], "cores": os.cpu_count(), "python": platform.python_version()}


def versions(python: str) -> dict[str, str]:
    """Of the libraries that were measured."""
    code = "import json, sys; from importlib.metadata import version; print(json.dumps({n: version(n) for n in sys.argv[1:]}))"
    done = subprocess.run([python, "-c", code, *LIBRARIES], capture_output=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="calls of each verb")
    parser.add_argument("--stored", type=int, default=5000, help="objects that are listed and watched")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", default="", help="names separated by semicolons; empty: all")
    parser.add_argument("--python", default="", help="interpreter with the peers; empty: that of `hack/bench peers`")
    parser.add_argument("--out", type=Path, help="file for the JSON")
    given = parser.parse_args()
    chosen = [name.strip() for name in given.clients.split(";") if name.strip()] or list(ALL)
    if unknown := [name for name in chosen if name not in ALL]:
        parser.error(f"no client {unknown}: choose of {'; '.join(ALL)}")
    with nullcontext() if "KUBECONFIG" in os.environ else _cluster():
        result = measure(chosen, given)
    text = json.dumps(result, indent=1)
    if given.out:
        given.out.write_text(text + "\n")
    print(text)
    print()
    print(markdown(result["clients"]))


def measure(chosen: list[str], given: argparse.Namespace) -> dict[str, Any]:
    """All figures of the chosen clients."""
    python = given.python or subprocess.check_output([ROOT / "hack/bench", "peers"], text=True).strip()
    mark = secrets.token_hex(3)
    spaces = {
        (name, turn): f"clients-{mark}-{n}-{turn}" for n, name in enumerate(chosen) for turn in range(given.rounds)
    }
    asyncio.run(namespaces([objects.STORED, *spaces.values()]))
    asyncio.run(store(given.stored))
    figures: Figures = {name: {} for name in chosen}
    try:
        raw: dict[tuple[str, str], list[dict[str, float]]] = {}
        for turn in range(given.rounds):
            for name in chosen:
                print(f"bench: round {turn + 1}, {name}", file=sys.stderr, flush=True)
                for step in (s for s in STEPS if s in ALL[name].steps):
                    found = measured(
                        python, name, step, count=given.count, stored=given.stored, namespace=spaces[name, turn]
                    )
                    raw.setdefault((name, step), []).append(found)
        for (name, step), rounds in raw.items():
            figures[name][step] = middle(rounds)
    finally:
        asyncio.run(remove([objects.STORED, *spaces.values()]))
    return {
        "machine": machine(),
        "versions": versions(python),
        "calls": given.count,
        "stored": given.stored,
        "rounds": given.rounds,
        "clients": figures,
    }


@contextmanager
def _cluster() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder, fresh("clients", Path(folder)):
        yield


if __name__ == "__main__":
    main()
