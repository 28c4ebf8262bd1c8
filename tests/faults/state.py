"""What a namespace holds, and what is wrong with it: the checks that follow every fault."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tidemill.build.metadata import LABEL_REQUEST
from tidemill.contract.names import ANNOTATION_RETRY, LABEL_TASK
from tidemill.kube.client import Client
from tidemill.kube.config import load as load_connection
from tidemill.kube.lists import pages
from tidemill.kube.resources import OURS, WATCHABLE
from tidemill.runtime.seed import selector

Raw = dict[str, Any]
ALWAYS_OWNED = frozenset({"Job", "Pod", "StatefulSet", "Service", "EndpointSlice", "ModelPlacement"})
JUDGED_BY_GENERATION = frozenset({"DriftPolicy"})
"""Without a Prometheus nothing is measured and such a policy is never Ready: its status need only be of its spec."""


@dataclass(frozen=True, slots=True)
class State:
    """All objects of the operator's kinds in one namespace."""

    objects: dict[str, list[Raw]]

    @classmethod
    def read(cls, namespace: str, *, kinds: tuple[str, ...] = tuple(WATCHABLE)) -> State:
        """Ask the cluster of KUBECONFIG."""
        return cls(asyncio.run(_read(namespace, kinds)))

    def all(self) -> Iterator[Raw]:
        """Every object."""
        for found in self.objects.values():
            yield from found

    def ours(self) -> Iterator[Raw]:
        """The resources that users or the operator made, without the placements."""
        for kind in OURS:
            if kind != "ModelPlacement":
                yield from self.objects.get(kind, ())

    def unsettled(self) -> list[str]:
        """Resources whose status is not of their spec, or not Ready."""
        return [f"{_name(obj)}: {why}" for obj in self.ours() if (why := _unsettled(obj))]

    def duplicates(self) -> list[str]:
        """What was made twice: Jobs of one request, versions of one run or of one number, placements on one pod."""
        made: Counter[tuple[Any, ...]] = Counter()
        for job in self.objects["Job"]:
            labels, notes = job["metadata"]["labels"], job["metadata"].get("annotations", {})
            request = labels.get(LABEL_TASK), labels.get(LABEL_REQUEST), notes.get(ANNOTATION_RETRY)
            made["Job", controller(job), *request] += 1
        for version in self.objects["ModelVersion"]:
            spec = version["spec"]
            made["ModelVersion", spec["model"], spec["version"]] += 1
            if run := (spec.get("origin") or {}).get("trainingRunUid"):
                made["ModelVersion of run", run] += 1
        for placement in self.objects["ModelPlacement"]:
            made["ModelPlacement", controller(placement), placement["spec"]["pod"]] += 1
        return [f"{what}: {count}" for what, count in made.items() if count > 1]

    def orphans(self) -> list[str]:
        """Children whose owner does not exist."""
        alive = {obj["metadata"]["uid"] for obj in self.all()}
        found = []
        for obj in self.all():
            owner = controller(obj)
            if owner not in alive if owner else obj["kind"] in ALWAYS_OWNED:
                found.append(_name(obj))
        return found

    def broken_logs(self) -> list[str]:
        """Transition logs with a gap, or whose newest entry is not what is so now."""
        return [
            f"{_name(obj)}: {log}"
            for obj in self.ours()
            if (log := (obj.get("status") or {}).get("transitions"))
            and (
                any(newer["from"] != older["to"] for newer, older in itertools.pairwise(log))
                or log[0]["to"] != _logged(obj)
            )
        ]

    def transitions(self) -> dict[str, list[tuple[str, str, str]]]:
        """The transition logs, oldest entry first, by object."""
        return {
            obj["metadata"]["uid"]: [
                (t["from"], t["to"], t["at"]) for t in reversed((obj.get("status") or {}).get("transitions") or ())
            ]
            for obj in self.ours()
        }

    def count(self) -> int:
        """How many resources there are."""
        return sum(1 for _ in self.ours())


def controller(obj: Raw) -> str | None:
    """The UID of an object's controller."""
    return next((o["uid"] for o in obj["metadata"].get("ownerReferences", ()) if o.get("controller")), None)


def _unsettled(obj: Raw) -> str:
    status, generation = obj.get("status") or {}, obj["metadata"]["generation"]
    if status.get("observedGeneration", 0) < generation:
        return f"observed generation {status.get('observedGeneration')} of {generation}"
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    ready = conditions.get("Ready", {})
    if obj["kind"] in JUDGED_BY_GENERATION or ready.get("status") == "True":
        return ""
    return f"Ready {ready.get('status')}: {ready.get('reason')}: {ready.get('message')}"


def _logged(obj: Raw) -> str:
    status = obj["status"]
    return str(status["stage"] if obj["kind"] == "ModelVersion" else (status.get("serving") or {}).get("name"))


def _name(obj: Raw) -> str:
    return f"{obj['kind']} {obj['metadata']['name']}"


async def _read(namespace: str, kinds: tuple[str, ...]) -> dict[str, list[Raw]]:
    async with Client(load_connection(), user_agent="faults") as client:
        found: dict[str, list[Raw]] = {}
        for kind in kinds:
            listed = pages(client, WATCHABLE[kind], namespace=namespace, selector=selector(kind))
            found[kind] = [item async for items, _ in listed for item in items]
        return found
