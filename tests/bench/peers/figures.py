"""From requests to figures: when the first child of each object was there, how long a change took, what was called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from tests.bench.peers.audit import Request
from tests.bench.scale.figures import spread

LOADER = "loader"
KUBERNETES = ("system:serviceaccount:kube-system:", "system:kube-controller-manager")
HARNESS = frozenset({"tokenreviews.authentication.k8s.io", "subjectaccessreviews.authorization.k8s.io"})
"""What a controller asks only because its metrics are read by us."""

_OBJECT = re.compile(r"[a-z]-\d{5}")


def object_of(name: str) -> str:
    """The loaded object that a name belongs to: its own, or that of a child, which begins with or contains it."""
    found = _OBJECT.search(name)
    return found[0] if found else ""


def by_cluster(request: Request) -> bool:
    """Whether kube-controller-manager asked."""
    return request.user.startswith(KUBERNETES)


def calls(requests: Iterable[Request], user: str) -> Counter[str]:
    """What a user called, without leases and without what only the measurement makes it call."""
    return Counter(
        r.call
        for r in requests
        if r.user == user and r.resource not in HARNESS and not r.resource.startswith("leases.")
    )


def writes(counted: Counter[str]) -> dict[str, int]:
    """The writes among calls, events too."""
    return {call: n for call, n in counted.items() if call.split()[0] not in ("get", "list", "watch")}


def firsts(requests: Iterable[Request], wanted: Callable[[Request], bool]) -> dict[str, Request]:
    """The first accepted request of those wanted, for each object."""
    found: dict[str, Request] = {}
    for request in requests:
        name = object_of(request.name)
        if name and request.accepted and wanted(request):
            found.setdefault(name, request)
    return found


def loaded(requests: Sequence[Request], *, child: str, status: str, users: Collection[str]) -> dict[str, Any]:
    """The figures of a load: from the first object received to the last child, status and write."""
    made = [r for r in requests if r.user == LOADER and r.verb == "create" and r.accepted]
    theirs = [r for r in requests if r.user in users or by_cluster(r)]
    children = firsts(theirs, lambda r: r.resource == child and r.verb in ("create", "patch"))
    statuses = firsts(theirs, lambda r: r.resource == f"{status}/status" and r.writes)
    begun = min(r.received for r in made)

    def seconds(found: Iterable[Request]) -> float | None:
        last = max((r.answered for r in found), default=None)
        return None if last is None else round(last - begun, 2)

    children_s = seconds(children.values())
    return {
        "created": len(made),
        "created_s": seconds(made),
        "create_ms": spread([r.answered - r.received for r in made]),
        "children": len(children),
        "children_s": children_s,
        "children_per_s": round(len(children) / children_s, 1) if children_s else None,
        "statuses": len(statuses),
        "statuses_s": seconds(statuses.values()),
        "settled_s": seconds(r for r in theirs if r.works),
        "conflicts": sum(r.user in users and r.code == 409 for r in requests),
    }


def changed(requests: Sequence[Request], *, child: str, status: str) -> dict[str, Any]:
    """From the answer of each patch to that of the first write to its child, and to its status."""
    patches = [r for r in requests if r.user == LOADER and r.verb == "patch" and r.accepted]
    others = [r for r in requests if r.user != LOADER and r.writes and r.accepted]
    waits: dict[str, list[float]] = {child: [], f"{status}/status": []}
    for patch in patches:
        later = [r for r in others if r.received >= patch.received and object_of(r.name) == patch.name]
        for resource, found in waits.items():
            first = min((r.answered for r in later if r.resource == resource), default=None)
            if first is not None:
                found.append(first - patch.answered)
    return {
        "changes": len(patches),
        "child_ms": spread(waits[child]),
        "status_ms": spread(waits[f"{status}/status"]),
    }
