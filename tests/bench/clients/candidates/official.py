"""`kubernetes`, the official client: generated, over urllib3, to be called in threads."""

from __future__ import annotations

from typing import Any

from kubernetes import client, config, watch
from tests.bench.clients.objects import GROUP, MANAGER, PLURAL, VERSION


class Candidate:
    """Custom objects as dictionaries, ConfigMaps as its models."""

    def open(self) -> None:
        settings = client.Configuration()
        config.load_kube_config(client_configuration=settings)
        settings.connection_pool_maxsize = 16
        self._api = client.ApiClient(settings)
        self._custom = client.CustomObjectsApi(self._api)
        self._core = client.CoreV1Api(self._api)

    def close(self) -> None:
        self._api.close()

    def list_runs(self, namespace: str, page: int | None) -> int:
        count, token = 0, ""
        while True:
            options: dict[str, Any] = {"limit": page, "_continue": token} if page else {}
            answer: Any = self._custom.list_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, **options)
            count += len(answer["items"])
            token = answer["metadata"].get("continue", "")
            if not token:
                return count

    def list_config_maps(self, namespace: str, page: int | None) -> int:
        count, token = 0, ""
        while True:
            options: dict[str, Any] = {"limit": page, "_continue": token} if page else {}
            answer: Any = self._core.list_namespaced_config_map(namespace, **options)
            count += sum(item.metadata.namespace == namespace for item in answer.items)
            token = answer.metadata._continue or ""
            if not token:
                return count

    def create(self, body: dict[str, Any]) -> None:
        self._custom.create_namespaced_custom_object(
            GROUP, VERSION, body["metadata"]["namespace"], PLURAL, body, field_manager=MANAGER
        )

    def apply(self, body: dict[str, Any]) -> None:
        meta = body["metadata"]
        self._custom.patch_namespaced_custom_object(
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

    def patch(self, namespace: str, name: str, patch: dict[str, Any]) -> None:
        self._custom.patch_namespaced_custom_object_status(
            GROUP,
            VERSION,
            namespace,
            PLURAL,
            name,
            patch,
            field_manager=MANAGER,
            _content_type="application/merge-patch+json",
        )

    def watch(self, namespace: str, count: int) -> int:
        seen = 0
        watching = watch.Watch()
        for event in watching.stream(self._custom.list_namespaced_custom_object, GROUP, VERSION, namespace, PLURAL):
            if event["object"]["metadata"]["name"]:
                seen += 1
            if seen == count:
                watching.stop()
        return seen
