"""Events on resources: named after their content, repeated ones counted, at most a few for an object at a time."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from datetime import UTC, datetime

from tidemill.contract.names import child_name
from tidemill.kube.client import MERGE_PATCH, Client
from tidemill.kube.errors import ApiError
from tidemill.kube.leases import micro_time
from tidemill.kube.resources import EVENT
from tidemill.reconcile.observed import Object
from tidemill.reconcile.plan import Event

REPEAT_SECONDS = 600.0
"""The same event on the same object is sent again only after this."""
BURST, REFILL_SECONDS = 10, 30.0
NOTE_LIMIT = 1024
_REMEMBERED = 4096


class EventRecorder:
    """Sends events. Losing one is no harm: status says it all."""

    def __init__(self, client: Client, *, component: str = "tidemill", instance: str) -> None:
        self._client = client
        self._component = component
        self._instance = instance
        self._sent: OrderedDict[str, float] = OrderedDict()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def send(self, obj: Object, event: Event) -> bool:
        """Send one event, unless it was sent lately or the object has had too many. True when it was sent."""
        uid = obj["metadata"]["uid"]
        note = event.message if len(event.message) <= NOTE_LIMIT else event.message[: NOTE_LIMIT - 1] + "…"
        name = _name(obj, event)
        now = time.monotonic()
        if now - self._sent.get(name, -REPEAT_SECONDS) < REPEAT_SECONDS or not self._take(uid, now):
            return False
        self._sent[name] = now
        self._sent.move_to_end(name)
        while len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        await self._write(obj, event, name, note)
        return True

    async def _write(self, obj: Object, event: Event, name: str, note: str) -> None:
        meta = obj["metadata"]
        moment = micro_time(datetime.now(UTC))
        namespace = meta.get("namespace") or "default"
        body = {
            "apiVersion": EVENT.api_version,
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": moment,
            "reportingController": self._component,
            "reportingInstance": self._instance,
            "action": "Reconcile",
            "type": event.type,
            "reason": event.reason,
            "note": note,
            "regarding": {
                "apiVersion": obj["apiVersion"],
                "kind": obj["kind"],
                "namespace": meta.get("namespace", ""),
                "name": meta["name"],
                "uid": meta["uid"],
                "resourceVersion": meta.get("resourceVersion", ""),
            },
        }
        try:
            await self._client.request("create", EVENT.path(namespace), kind="Event", body=body, attempts=2)
        except ApiError as error:
            if not error.conflict:
                raise
            await self._count(namespace, name, moment)

    async def _count(self, namespace: str, name: str, moment: str) -> None:
        """The event exists already (an hour at most): add to its series."""
        path = EVENT.path(namespace, name)
        found = await self._client.request("get", path, kind="Event", attempts=2)
        count = ((found.get("series") or {}).get("count") or 1) + 1
        body = {
            "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
            "series": {"count": count, "lastObservedTime": moment},
        }
        await self._client.request("patch", path, kind="Event", body=body, content_type=MERGE_PATCH, attempts=2)

    def _take(self, uid: str, now: float) -> bool:
        tokens, at = self._buckets.get(uid, (float(BURST), now))
        tokens = min(float(BURST), tokens + (now - at) / REFILL_SECONDS)
        allowed = tokens >= 1
        self._buckets[uid] = (tokens - 1 if allowed else tokens, now)
        self._buckets.move_to_end(uid)
        while len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return allowed


def _name(obj: Object, event: Event) -> str:
    content = "\0".join((obj["metadata"]["uid"], event.type, event.reason, event.message))
    return child_name(obj["metadata"]["name"], hashlib.sha256(content.encode()).hexdigest()[:12])
