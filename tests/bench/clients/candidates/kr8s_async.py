"""`kr8s`: objects over httpx, asynchronous. Its lists come in pages of 100, whatever is asked for."""

from __future__ import annotations

import json
from typing import Any

import kr8s.asyncio
from kr8s.asyncio.objects import ConfigMap, new_class
from tests.bench.clients.objects import API_VERSION, MANAGER, PLURAL

Run = new_class("TrainingRun", version=API_VERSION, namespaced=True, plural=PLURAL)


class Candidate:
    """Everything as its objects; server-side apply, which they lack, through its `call_api`."""

    async def open(self) -> None:
        self._api = await kr8s.asyncio.api()

    async def close(self) -> None:
        """It has nothing to close its session with."""

    async def list_runs(self, namespace: str, page: int | None) -> int:  # noqa: ARG002
        return await self._list(Run, namespace)

    async def list_config_maps(self, namespace: str, page: int | None) -> int:  # noqa: ARG002
        return await self._list(ConfigMap, namespace)

    async def _list(self, kind: Any, namespace: str) -> int:
        count = 0
        async for item in self._api.get(kind, namespace=namespace):
            count += item.namespace == namespace
        return count

    async def create(self, body: dict[str, Any]) -> None:
        await Run(body, api=self._api).create()

    async def apply(self, body: dict[str, Any]) -> None:
        meta = body["metadata"]
        async with self._api.call_api(
            "PATCH",
            version=API_VERSION,
            url=f"{PLURAL}/{meta['name']}",
            namespace=meta["namespace"],
            params={"fieldManager": MANAGER, "force": "true"},
            content=json.dumps(body),
            headers={"Content-Type": "application/apply-patch+yaml"},
        ) as response:
            response.json()

    async def patch(self, namespace: str, name: str, patch: dict[str, Any]) -> None:
        found = Run({"metadata": {"name": name, "namespace": namespace}}, api=self._api)
        await found.patch(patch, subresource="status")

    async def watch(self, namespace: str, count: int) -> int:
        seen = 0
        async for _, item in self._api.watch(Run, namespace=namespace):
            if item.name:
                seen += 1
            if seen == count:
                break
        return seen
