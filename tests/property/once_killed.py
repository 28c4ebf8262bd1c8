"""A cluster whose operator dies once, at a chosen effect."""

from __future__ import annotations

from tests.property.fake_cluster import FakeCluster, Killed
from tests.property.invariants import check_cluster, check_status_write

from tidemill.reconcile.plan import Key


class OnceKilled(FakeCluster):
    """A cluster whose operator dies after so many effects in all."""

    def __init__(self, *, kill_at: int | None = None, stale: bool = False) -> None:
        super().__init__()
        self.effects = 0
        self.kills = 0
        self._kill_at = kill_at
        self._stale = stale
        self.api.on_status.append(check_status_write)

    def reconcile(self, key: Key, *, kill_after: int | None = None) -> int:
        left = self._kill_at - self.effects if self._kill_at is not None and not self.kills else None
        try:
            done = super().reconcile(key, kill_after=left if left and left > 0 else kill_after)
        except Killed:
            self.kills += 1
            if self._stale:
                super().reconcile(key)
            else:
                self.restart()
            check_cluster(self)
            return 0
        self.effects += done
        return done
