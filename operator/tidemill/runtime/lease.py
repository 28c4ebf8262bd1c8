"""Leader election by a Lease, after client-go: 15 s, 10 s, 2 s. Only observed changes count, never another clock's time."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from tidemill.kube import leases
from tidemill.kube.client import Client
from tidemill.kube.errors import ApiError, ConnectionFailed, NotLeader
from tidemill.runtime.settings import LeaseSettings

_log = logging.getLogger("tidemill.lease")


class Elector:
    """Tries to hold the Lease. `guard` holds every write back while it does not."""

    def __init__(
        self,
        client: Client,
        settings: LeaseSettings,
        *,
        namespace: str,
        identity: str,
        on_change: Callable[[bool], None],
        rivals: Callable[[], Awaitable[str | None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rivals` names a Lease beside which nobody may lead: see rivals.py."""
        self._client = client
        self._settings = settings
        self._namespace = namespace
        self._identity = identity
        self._on_change = on_change
        self._rivals = rivals
        self._clock = clock
        self._leading = False
        self._renewed = 0.0
        self._lease: dict[str, Any] | None = None
        self.transitions: int | None = None
        """How often the Lease has changed hands, as of when this process held it last."""
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = clock()

    @property
    def is_leader(self) -> bool:
        """Whether this process may write now."""
        if not self._settings.enabled:
            return self._leading
        return self._leading and self._clock() - self._renewed < self._settings.renew_deadline

    def guard(self) -> float | None:
        """For the client: raises NotLeader, or says how many seconds a write may take before another could lead."""
        if not self.is_leader:
            raise NotLeader(f"{self._identity} does not hold the lease {self._namespace}/{self._settings.name}")
        if not self._settings.enabled:
            return None
        return self._renewed + self._settings.duration - self._clock()

    async def run(self) -> None:
        """Acquire and renew until cancelled."""
        if not self._settings.enabled:
            self._change(True)
            await asyncio.Event().wait()
        while True:
            started = self._clock()
            try:
                held = await self._attempt(started)
            except (ApiError, ConnectionFailed) as error:
                _log.warning("lease %s/%s: %s", self._namespace, self._settings.name, error)
                held = False
                self._lease = None
            if held:
                if not self.is_leader:  # renewed too late: what was held back meanwhile must be done again
                    self._change(False)
                self._renewed = started
                self._change(True)
            elif self._leading and not self.is_leader:
                self._change(False)
            await asyncio.sleep(max(0.1, self._settings.retry_period - (self._clock() - started)))

    async def release(self) -> None:
        """Give the lease back, so that a standby need not wait for its end. `run` must have ended: it would take it again."""
        if not self._settings.enabled or not self._leading:
            return
        self._change(False)
        try:
            lease = await self._read()  # not what is remembered: `run` may have ended in the middle of a renewal
        except (ApiError, ConnectionFailed) as error:
            _log.info("lease not released: %s", error)
            return
        if lease is not None and (lease.get("spec") or {}).get("holderIdentity") == self._identity:
            await self._give_back(lease)

    async def _give_back(self, lease: dict[str, Any]) -> None:
        spec = {"leaseDurationSeconds": 1, "leaseTransitions": lease["spec"].get("leaseTransitions", 0)}
        try:
            await self._write(spec, lease)
        except (ApiError, ConnectionFailed) as error:
            _log.info("lease not released: %s", error)

    async def _attempt(self, now: float) -> bool:
        lease = self._lease if self._leading else None
        if lease is None:
            lease = await self._read()
        if lease is not None and self._is_anothers(lease, now):
            return False
        if self._rivals is None:
            return await self._take(lease)
        if not self.is_leader and await self._rivals():
            return False
        if not await self._take(lease):
            return False
        if self._leading and self._clock() - self._renewed < self._settings.duration:
            return True  # renewed before anybody could take this one for gone
        if not await self._rivals():
            return True
        # Both came at once, and both step back: for different times.
        if self._lease is not None:
            await self._give_back(self._lease)
        self._lease = None
        await asyncio.sleep(random.random() * self._settings.retry_period)
        return False

    def _is_anothers(self, lease: dict[str, Any], now: float) -> bool:
        """Whether somebody else holds it and is not silent for too long."""
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if (seen := (holder, lease["metadata"]["resourceVersion"])) != self._seen:
            self._seen, self._seen_at = seen, now
        expired = now - self._seen_at >= float(spec.get("leaseDurationSeconds") or 0)
        return bool(holder) and holder != self._identity and not expired

    async def _take(self, lease: dict[str, Any] | None) -> bool:
        """Acquire or renew; False when somebody else was quicker."""
        if lease is None:
            return self._took(await self._write(self._spec(0, None), None))
        spec = lease.get("spec") or {}
        mine = spec.get("holderIdentity") == self._identity
        transitions = int(spec.get("leaseTransitions") or 0) + (0 if mine else 1)
        wanted = self._spec(transitions, spec.get("acquireTime") if mine else None)
        return self._took(await self._write(wanted, lease))

    async def _read(self) -> dict[str, Any] | None:
        return await leases.read(
            self._client, self._namespace, self._settings.name, timeout=self._settings.retry_period
        )

    def _took(self, written: dict[str, Any] | None) -> bool:
        self._lease = written
        if written is not None:
            self.transitions = int(written["spec"].get("leaseTransitions") or 0)
        return written is not None

    async def _write(self, spec: dict[str, Any], previous: dict[str, Any] | None) -> dict[str, Any] | None:
        return await leases.write(
            self._client,
            self._namespace,
            self._settings.name,
            spec=spec,
            previous=previous,
            timeout=self._settings.retry_period * 2,
        )

    def _spec(self, transitions: int, acquired: str | None) -> dict[str, Any]:
        moment = leases.micro_time(datetime.now(UTC))
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._settings.duration),
            "acquireTime": acquired or moment,
            "renewTime": moment,
            "leaseTransitions": transitions,
        }

    def _change(self, leading: bool) -> None:
        if leading is not self._leading:
            self._leading = leading
            _log.info("%s %s the lease", self._identity, "holds" if leading else "does not hold")
            self._on_change(leading)
