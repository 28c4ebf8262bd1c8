"""A process that changes Datasets of one namespace, at a rate or all at once: the noisy neighbour of fairness.py.

`python -m tests.bench.scale.noise --kubeconfig FILE --namespace NAME --objects N [--rate R --seconds S]` prints JSON. With
`--unwatched` it changes ConfigMaps, which no operator watches, twice each: as many writes as a change and its status make.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

from tidemill.kube.client import APPLY_PATCH, MERGE_PATCH, Client
from tidemill.kube.config import load as load_connection
from tidemill.kube.resources import OURS

AT_ONCE = 32


async def change(client: Client, namespace: str, name: str, number: int) -> int:
    """Change a Dataset's spec; its new generation."""
    spec = {"inputs": [{"name": "raw", "s3": {"uri": f"s3://raw/changed/{number}.parquet"}}]}
    path = OURS["Dataset"].path(namespace, name)
    answer = await client.request("patch", path, kind="Dataset", body={"spec": spec}, content_type=MERGE_PATCH)
    return int(answer["metadata"]["generation"])


async def change_unwatched(client: Client, namespace: str, name: str, number: int) -> None:
    """Apply a ConfigMap, and change it."""
    path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"uri": f"s3://raw/{number}"}}
    query = {"fieldManager": "bench", "force": "true"}
    await client.request("apply", path, kind="ConfigMap", query=query, body=body, content_type=APPLY_PATCH)
    patch = {"data": {"status": f"observed {number}"}}
    await client.request("patch", path, kind="ConfigMap", body=patch, content_type=MERGE_PATCH)


async def noise(client: Client, given: argparse.Namespace) -> dict[str, float]:
    """Change object after object: for so many seconds at a rate, or (rate 0) each once, as fast as it goes."""
    rate, objects = given.rate, given.objects
    act = change_unwatched if given.unwatched else change
    began = time.monotonic()
    total = round(rate * given.seconds) if rate else objects
    numbers: Iterator[int] = iter(range(total))

    async def work() -> None:
        for number in numbers:
            if rate:
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await act(client, given.namespace, f"noisy-{number % objects}", time.time_ns() // 1000)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    took = time.monotonic() - began
    return {"changes": total, "seconds": round(took, 2), "changesPerSecond": round(total / took, 1)}


async def _main(given: argparse.Namespace) -> None:
    async with Client(load_connection(str(given.kubeconfig)), user_agent="bench-noise", connections=AT_ONCE) as client:
        print(json.dumps(await noise(client, given)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--objects", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--unwatched", action="store_true")
    asyncio.run(_main(parser.parse_args()))
