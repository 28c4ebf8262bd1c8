"""What a watch can miss is found: by the list that follows a broken watch, and by the resync."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.e2e.apiserver import kubectl
from tests.glue.objects import apply, dataset, get, items, ready
from tests.glue.tiny import TINY

from tidemill.kube.config import load as load_connection
from tidemill.kube.resources import WATCHABLE
from tidemill.runtime.app import App
from tidemill.runtime.options import validate

GHOST = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "d-inputs", "namespace": "", "uid": "gone", "resourceVersion": "2"},
}


def with_app(namespace: str, script: Callable[[App], Awaitable[None]]) -> None:
    """Run a script beside an engine in this process."""

    async def play() -> None:
        settings = validate(
            {
                "httpPort": 0,
                "httpAddress": "127.0.0.1",
                "watch": {"namespaces": [namespace]},
                "lease": {"enabled": False},
            }
        )
        app = App(settings, reconcilers=TINY, connection=load_connection())
        running = asyncio.create_task(app.run())
        try:
            await until("first pass", lambda: app.first_pass is not None)
            await script(app)
        finally:
            app.stop.set()
            await asyncio.wait_for(running, 30)

    asyncio.run(play())


async def until(what: str, check: Callable[[], object], seconds: float = 60) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not check():
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)


def ghost(namespace: str) -> dict[str, object]:
    owner = {"kind": "Dataset", "name": "d", "uid": "x", "controller": True}
    meta = {**GHOST["metadata"], "namespace": namespace, "ownerReferences": [owner]}  # type: ignore[dict-item]
    return {**GHOST, "metadata": meta}


def test_ghosts_and_missed_objects_are_repaired(namespace: str) -> None:
    async def script(app: App) -> None:
        # A ghost: an object in the cache that is not in the cluster. It keeps the Dataset from having its Service.
        app.intake.observed(ghost(namespace))
        apply(dataset("d", namespace))
        apply(dataset("e", namespace))
        await until("the other Service", lambda: get(namespace, "service", "e-inputs"))
        assert not get(namespace, "service", "d-inputs")
        # A missed one: in the cluster, and not in the cache; no event of it is still on its way.
        await until("its status", lambda: ready(get(namespace, "datasets", "e")) == "True")
        newest = get(namespace, "datasets", "e")["metadata"]["resourceVersion"]
        await until(
            "level", lambda: app.indices.get("Dataset", namespace, "e")["metadata"]["resourceVersion"] == newest
        )  # type: ignore[index]
        await asyncio.sleep(0.5)  # the watch brings again what the operator's own write has brought
        entry = app.indices.entry("Dataset", namespace, "e")
        assert entry is not None
        app.indices._unlink(entry)
        assert app._resync is not None
        assert await app._resync.compare() == 2
        assert app.metrics.total(app.metrics.resync_fixes, fix="ghost") == 1
        assert app.metrics.total(app.metrics.resync_fixes, fix="missed") == 1
        assert app.indices.get("Dataset", namespace, "e") is not None
        await until("the Service that the ghost stood for", lambda: get(namespace, "service", "d-inputs"))
        assert await app._resync.compare() == 0

    with_app(namespace, script)


def test_a_list_after_a_broken_watch_drops_ghosts_and_brings_news(namespace: str) -> None:
    async def script(app: App) -> None:
        apply(dataset("d", namespace))
        await until("the Service", lambda: app.indices.get("Service", namespace, "d-inputs"))
        app.intake.observed({**ghost(namespace), "metadata": {**ghost(namespace)["metadata"], "name": "other"}})  # type: ignore[dict-item]
        assert app.indices.get("Service", namespace, "other") is not None
        assert app.seeder is not None
        await app.seeder.seed(WATCHABLE["Service"], namespace)  # what a 410 leads to
        assert app.indices.get("Service", namespace, "other") is None
        assert app.indices.get("Service", namespace, "d-inputs") is not None

    with_app(namespace, script)


def test_a_cache_that_is_ahead_of_the_server_is_replaced(namespace: str) -> None:
    """What a restored etcd leaves behind when the watch has not noticed: objects of versions that the server never had."""

    async def script(app: App) -> None:
        apply(dataset("d", namespace))
        await until("the Service", lambda: app.indices.get("Service", namespace, "d-inputs"))
        real = get(namespace, "service", "d-inputs")
        ahead = str(int(real["metadata"]["resourceVersion"]) + 1_000_000)
        lost = {**real, "metadata": {**real["metadata"], "resourceVersion": ahead, "labels": {"lost": "yes"}}}
        assert app.intake.observed(lost)
        made = {**ghost(namespace)["metadata"], "name": "made-later", "resourceVersion": ahead}  # type: ignore[dict-item]
        assert app.intake.observed({**ghost(namespace), "metadata": made})
        assert app._resync is not None
        assert await app._resync.compare() == 1
        assert app.metrics.total(app.metrics.resync_fixes, fix="history", kind="Service") == 1
        assert app.indices.get("Service", namespace, "made-later") is None
        found = app.indices.get("Service", namespace, "d-inputs")
        assert found is not None
        assert found["metadata"]["resourceVersion"] == real["metadata"]["resourceVersion"]
        assert await app._resync.compare() == 0

    with_app(namespace, script)


def test_another_namespace_is_none_of_its_business(namespace: str) -> None:
    async def script(app: App) -> None:
        apply(dataset("stranger", "default"), dataset("d", namespace))
        await until("ours", lambda: get(namespace, "service", "d-inputs"))
        assert app.indices.get("Dataset", "default", "stranger") is None

    try:
        with_app(namespace, script)
        assert not [s for s in items("default", "services") if s["metadata"]["name"] == "stranger-inputs"]
    finally:
        kubectl("delete", "datasets", "stranger", "-n", "default")
