"""Rivals: operators that were started for another number of shards, and so share out the namespaces in another way.

Nobody may lead while one of them does. Who wants to lead looks for a rival's Lease, takes its own, and looks again: of two
that try at once at least one sees the other, because a LIST without resourceVersion sees every write that was before it.
Who leads need not look: a rival that comes later sees its Lease. A silent rival counts as gone after its Lease's duration,
as for a standby; then it may not write any more, and before it leads again it looks for rivals itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from tidemill.kube.client import Client
from tidemill.kube.resources import LEASE
from tidemill.runtime.settings import LeaseSettings
from tidemill.runtime.shards import Shard, count_of

_log = logging.getLogger("tidemill.rivals")


class Rivals:
    """Finds Leases of other shard counts that are held."""

    def __init__(
        self,
        client: Client,
        settings: LeaseSettings,
        *,
        namespace: str,
        shard: Shard,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`settings.name` is the Lease's name without a shard."""
        self._client = client
        self._settings = settings
        self._namespace = namespace
        self._shard = shard
        self._clock = clock
        self._seen: dict[str, tuple[str, float]] = {}
        self._waits_for: str | None = None

    async def held(self) -> str | None:
        """A rival's Lease, as namespace/name, or None. Raises ApiError or ConnectionFailed."""
        found = await self._client.request(
            "list", LEASE.path(self._namespace), kind="Lease", timeout=self._settings.retry_period, attempts=1
        )
        now, rivals = self._clock(), list[dict[str, Any]]()
        before, self._seen = self._seen, {}
        for lease in found.get("items") or ():
            name, version = lease["metadata"]["name"], lease["metadata"]["resourceVersion"]
            spec = lease.get("spec") or {}
            if count_of(name, self._settings.name) in (None, self._shard.count) or not spec.get("holderIdentity"):
                continue
            known, since = before.get(name, ("", now))
            self._seen[name] = version, since = (version, since if known == version else now)
            if now - since < float(spec.get("leaseDurationSeconds") or 0):
                rivals.append(lease)
        self._report(rivals)
        return f"{self._namespace}/{rivals[0]['metadata']['name']}" if rivals else None

    def _report(self, rivals: list[dict[str, Any]]) -> None:
        """Say once what is waited for."""
        names = ", ".join(f"{r['metadata']['name']} (held by {r['spec']['holderIdentity']})" for r in rivals) or None
        if names != self._waits_for:
            self._waits_for = names
            if names:
                _log.warning("%s waits: an operator of another number of shards still leads: %s", self._shard, names)
            else:
                _log.info("%s: no operator of another number of shards leads any more", self._shard)
