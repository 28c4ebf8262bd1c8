"""What can go wrong in a call to the API server, as types that the driver can act upon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.reconcile.plan import Key


class ApiError(Exception):
    """The API server refused a request. `reason` is its own constant: NotFound, Conflict, Forbidden, Invalid …"""

    def __init__(
        self, *, status: int, reason: str, message: str, what: str, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{what}: {status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.what = what
        """Verb, kind, namespace and name of the request."""
        self.details: Mapping[str, Any] = details or {}

    @property
    def not_found(self) -> bool:
        """The object (or its kind) does not exist."""
        return self.status == 404

    @property
    def conflict(self) -> bool:
        """Somebody wrote in between, a precondition failed, or the name is taken."""
        return self.status == 409

    @property
    def forbidden(self) -> bool:
        """RBAC, a quota, an admission policy, or the namespace's termination."""
        return self.status == 403

    @property
    def expired(self) -> bool:
        """A continue token or resourceVersion is too old."""
        return self.status == 410

    @property
    def namespace_terminating(self) -> bool:
        """The namespace is being deleted: nothing can be created there any more."""
        causes = self.details.get("causes") or ()
        return any(c.get("reason") == "NamespaceTerminating" for c in causes) or (
            self.forbidden and "because it is being terminated" in self.message
        )

    @property
    def quota(self) -> bool:
        """A ResourceQuota is used up."""
        return self.forbidden and "exceeded quota" in self.message


class ConnectionFailed(Exception):
    """The API server could not be reached, or did not answer in time, after all retries."""


class NotLeader(Exception):
    """A write was held back because this process does not hold the lease."""


class Stale(Exception):
    """The object was changed after it was observed: reconcile what it is now."""


class ChildConflict(Exception):
    """The name of a child is taken by an object that is not ours."""

    def __init__(self, key: Key, holder: str) -> None:
        super().__init__(f"{key} exists and belongs to {holder}: delete or rename it, or rename the resource")
        self.key = key
        self.holder = holder
