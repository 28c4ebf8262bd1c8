"""`lightkube`: dataclasses over httpx2, asynchronous."""

from __future__ import annotations

from typing import Any

from lightkube import AsyncClient
from lightkube.generic_resource import create_namespaced_resource
from lightkube.resources.core_v1 import ConfigMap
from lightkube.types import PatchType
from tests.bench.clients.objects import GROUP, MANAGER, PLURAL, VERSION

Run = create_namespaced_resource(GROUP, VERSION, "TrainingRun", PLURAL)


class Candidate:
    """Custom objects as its generic resources, ConfigMaps as its models."""

    async def open(self) -> None:
        self._client = AsyncClient(field_manager=MANAGER)

    async def close(self) -> None:
        await self._client.close()

    async def list_runs(self, namespace: str, page: int | None) -> int:
        return await self._list(Run, namespace, page)

    async def list_config_maps(self, namespace: str, page: int | None) -> int:
        return await self._list(ConfigMap, namespace, page)

    async def _list(self, kind: Any, namespace: str, page: int | None) -> int:
        count = 0
        async for item in self._client.list(kind, namespace=namespace, chunk_size=page):
            count += item.metadata.namespace == namespace
        return count

    async def create(self, body: dict[str, Any]) -> None:
        await self._client.create(Run(body))

    async def apply(self, body: dict[str, Any]) -> None:
        await self._client.apply(Run(body), force=True)

    async def patch(self, namespace: str, name: str, patch: dict[str, Any]) -> None:
        await self._client.patch(Run.Status, name, patch, namespace=namespace, patch_type=PatchType.MERGE)

    async def watch(self, namespace: str, count: int) -> int:
        seen = 0
        async for _, item in self._client.watch(Run, namespace=namespace):
            if item.metadata.name:
                seen += 1
            if seen == count:
                break
        return seen
