"""`kubernetes-asyncio`: the official client's generated code over aiohttp."""

from __future__ import annotations

from typing import Any

from kubernetes_asyncio import client, config, watch
from tests.bench.clients.objects import GROUP, MANAGER, PLURAL, VERSION


class Candidate:
    """Custom objects as dictionaries, ConfigMaps as its models."""

    async def open(self) -> None:
        settings = client.Configuration()
        await config.load_kube_config(client_configuration=settings)
        settings.connection_pool_maxsize = 16
        self._api = client.ApiClient(settings)
        self._custom = client.CustomObjectsApi(self._api)
        self._core = client.CoreV1Api(self._api)

    async def close(self) -> None:
        await self._api.close()

    async def list_runs(self, namespace: str, page: int | None) -> int:
        count, token = 0, ""
        while True:
            options: dict[str, Any] = {"limit": page, "_continue": token} if page else {}
            answer: Any = await self._custom.list_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, **options)
            count += len(answer["items"])
            token = answer["metadata"].get("continue", "")
            if not token:
                return count

    async def list_config_maps(self, namespace: str, page: int | None) -> int:
        count, token = 0, ""
        while True:
            options: dict[str, Any] = {"limit": page, "_continue": token} if page else {}
            answer: Any = await self._core.list_namespaced_config_map(namespace, **options)
            count += sum(item.metadata.namespace == namespace for item in answer.items)
            token = answer.metadata._continue or ""
            if not token:
                return count

    async def create(self, body: dict[str, Any]) -> None:
        await self._custom.create_namespaced_custom_object(
            GROUP, VERSION, body["metadata"]["namespace"], PLURAL, body, field_manager=MANAGER
        )

    async def apply(self, body: dict[str, Any]) -> None:
        meta = body["metadata"]
        await self._custom.patch_namespaced_custom_object(
            GROUP,
            VERSION,
            meta["namespace"],
            PLURAL,
            meta["name"],
            body,
            field_manager=MANAGER,
            force=True,
            _content_type="application/apply-patch+yaml",
        )

    async def patch(self, namespace: str, name: str, patch: dict[str, Any]) -> None:
        await self._custom.patch_namespaced_custom_object_status(
            GROUP,
            VERSION,
            namespace,
            PLURAL,
            name,
            patch,
            field_manager=MANAGER,
            _content_type="application/merge-patch+json",
        )

    async def watch(self, namespace: str, count: int) -> int:
        seen = 0
        async with watch.Watch() as watching:
            async for event in watching.stream(
                self._custom.list_namespaced_custom_object, GROUP, VERSION, namespace, PLURAL
            ):
                if event["object"]["metadata"]["name"]:
                    seen += 1
                if seen == count:
                    break
        return seen
