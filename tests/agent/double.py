"""The few verbs of the Kubernetes API that the agent uses, in memory: list, watch, create, merge patch, delete.

For what a real server does too rarely to wait for: a compacted history (410), watches that break.
"""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Callable
from typing import Any

from aiohttp import web

Object = dict[str, Any]


class ApiDouble:
    """Serves ModelPlacements of every namespace on a loopback port, from a thread of its own."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Object] = {}
        self.writes: list[tuple[str, str]] = []
        """Status writes: name and state."""
        self.lists = 0
        self._version = 1
        self._oldest = 0
        """Watches from before this version are answered with 410."""
        self._events: list[tuple[int, str, Object]] = []
        self._watches: list[web.StreamResponse] = []
        self._loop = asyncio.new_event_loop()
        self._moved = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.port = 0
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        started.wait(10)

    def stop(self) -> None:
        """End the server and its thread."""
        assert self._runner is not None
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def forget_history(self) -> None:
        """As after a compaction: every watch is ended by an error 410, and only a list helps."""

        def forget() -> None:
            self._version += 1
            self._oldest = self._version
            self._events.clear()
            self._moved.set()

        self.call(forget)

    def hide_event(self, name: str) -> None:
        """Delete an object without an event, and forget the history: only a list can tell."""

        def hide() -> None:
            for key in [key for key in self.objects if key[1] == name]:
                del self.objects[key]

        self.call(hide)
        self.forget_history()

    def cut_watches(self) -> None:
        """Break the connections of all watches in the middle."""

        def cut() -> None:
            for watch in self._watches:
                if watch._payload_writer is not None and watch._payload_writer.transport is not None:  # type: ignore[attr-defined]
                    watch._payload_writer.transport.abort()  # type: ignore[attr-defined]

        self.call(cut)

    def call(self, work: Callable[[], Any]) -> Any:
        """Run something in the server's thread."""

        async def run() -> Any:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        started.set()
        self._loop.run_forever()

    async def _listen(self) -> None:
        app = web.Application()
        base = "/apis/tidemill.dev/v1alpha1/namespaces/{namespace}/modelplacements"
        app.add_routes(
            [
                web.get(base, self._get),
                web.post(base, self._create),
                web.patch(base + "/{name}", self._patch),
                web.patch(base + "/{name}/status", self._patch),
                web.get(base + "/{name}", self._one),
                web.delete(base + "/{name}", self._delete),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    def _changed(self, kind: str, item: Object) -> None:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self._events.append((self._version, kind, json.loads(json.dumps(item))))
        self._moved.set()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch"):
            return await self._watch(request)
        self.lists += 1
        return web.json_response(
            {"metadata": {"resourceVersion": str(self._version)}, "items": self._matching(request)}
        )

    def _matching(self, request: web.Request) -> list[Object]:
        return [item for item in self.objects.values() if _matches(request, item)]

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        at = int(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self._watches.append(response)
        try:
            while True:
                if at < self._oldest:
                    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                    await response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
                    return response
                self._moved.clear()
                for version, kind, item in [e for e in self._events if e[0] > at]:
                    at = version
                    if _matches(request, item):
                        await response.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")
                await self._moved.wait()
        finally:
            self._watches.remove(response)

    async def _one(self, request: web.Request) -> web.Response:
        item = self._find(request)
        return web.json_response(item) if item else _status(404, "NotFound")

    async def _create(self, request: web.Request) -> web.Response:
        item: Object = await request.json()
        meta = item["metadata"]
        meta |= {"namespace": request.match_info["namespace"], "uid": str(uuid.uuid4()), "generation": 1}
        self.objects[meta["namespace"], meta["name"]] = item
        self._changed("ADDED", item)
        return web.json_response(item, status=201)

    async def _patch(self, request: web.Request) -> web.Response:
        item, body = self._find(request), await request.json()
        if item is None:
            return _status(404, "NotFound")
        if body.get("metadata", {}).get("uid", item["metadata"]["uid"]) != item["metadata"]["uid"]:
            return _status(409, "Conflict")
        part = "status" if request.path.endswith("/status") else "spec"
        merged = _merge(item.get(part, {}), body.get(part, {}))
        if merged == item.get(part):
            return web.json_response(item)
        item[part] = merged
        if part == "spec":
            item["metadata"]["generation"] += 1
        else:
            self.writes.append((item["metadata"]["name"], merged.get("state", "")))
        self._changed("MODIFIED", item)
        return web.json_response(item)

    async def _delete(self, request: web.Request) -> web.Response:
        item = self._find(request)
        if item is None:
            return _status(404, "NotFound")
        del self.objects[request.match_info["namespace"], request.match_info["name"]]
        self._changed("DELETED", item)
        return web.json_response(item)

    def _find(self, request: web.Request) -> Object | None:
        return self.objects.get((request.match_info["namespace"], request.match_info["name"]))


def _matches(request: web.Request, item: Object) -> bool:
    selector = request.query.get("labelSelector", "")
    labels = item["metadata"].get("labels", {})
    wanted = dict(part.split("=", 1) for part in selector.split(",") if part)
    same = item["metadata"]["namespace"] == request.match_info["namespace"]
    return same and all(labels.get(key) == value for key, value in wanted.items())


def _merge(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    merged = {key: value for key, value in old.items() if new.get(key, value) is not None}
    for key, value in new.items():
        if value is not None:
            merged[key] = _merge(old.get(key), value)
    return merged


def _status(code: int, reason: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "reason": reason, "message": reason}, status=code)
