"""The load: manifests of all kinds over several namespaces, in fixed shares of a size, and a client that sends them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.property import manifests

from tidemill.kube.client import APPLY_PATCH, Client
from tidemill.kube.resources import OURS

Raw = dict[str, Any]
AT_ONCE = 24
"""Requests that are under way at a time."""


@dataclass(frozen=True, slots=True)
class Population:
    """So many of each kind, evenly over namespaces: in each one pool, and Datasets, runs, Deployments that fit together.

    Every run trains a model of its own on a Dataset of its namespace and leaves version 1 of it; Deployments serve the
    first of these models, in turn by version and by stage; policies watch the first Deployments.
    """

    spaces: tuple[str, ...]
    datasets: int
    runs: int
    deployments: int
    policies: int

    @classmethod
    def of(cls, size: int, spaces: tuple[str, ...]) -> Population:
        """A size in the shares 10 % Datasets, 30 % TrainingRuns, 30 % ModelVersions (which the runs leave), 10 %
        DriftPolicies, a ServingPool each namespace, and Deployments for the rest."""
        tenth, runs = size // 10, 3 * size // 10
        rest = size - 2 * tenth - 2 * runs - len(spaces)
        if rest < len(spaces):
            raise ValueError(
                f"a size of {size} is too small for {len(spaces)} namespaces: there must be a Deployment in each"
            )
        return cls(spaces=spaces, datasets=tenth, runs=runs, deployments=rest, policies=tenth)

    def counts(self) -> dict[str, int]:
        """Objects by kind once all runs have ended."""
        return {
            "ServingPool": len(self.spaces),
            "Dataset": self.datasets,
            "TrainingRun": self.runs,
            "ModelVersion": self.runs,
            "Deployment": self.deployments,
            "DriftPolicy": self.policies,
        }

    def everything(self) -> Iterator[Raw]:
        """All that users write; ModelVersions are left by runs."""
        makes = (self.make_pools, self.make_datasets, self.make_runs, self.make_deployments, self.make_policies)
        return itertools.chain.from_iterable(make() for make in makes)

    def make_pools(self) -> Iterator[Raw]:
        """One each namespace, of two servers."""
        for space in self.spaces:
            yield _in(space, manifests.pool("pool", replicas=2))

    def make_datasets(self) -> Iterator[Raw]:
        """Of one S3 input each."""
        for space, number in self._over(self.datasets):
            yield _in(space, manifests.dataset(f"data-{number}", uri=f"s3://raw/{space}/{number}.parquet"))

    def make_runs(self) -> Iterator[Raw]:
        """Each trains a model of its own, without variants and exports; every second one asks for Production."""
        for space, number in self._over(self.runs):
            template = {"optimise": [], "export": [], "stage": "None" if number % 2 else "Production"}
            source = f"data-{number % self._local(self.datasets, space)}"
            yield _in(space, manifests.run(f"run-{number}", source=source, model=f"model-{number}", template=template))

    def make_deployments(self) -> Iterator[Raw]:
        """Online, each on one server of its namespace's pool."""
        for space, number in self._over(self.deployments):
            model = {"name": f"model-{number % self._local(self.runs, space)}"}
            model |= {"version": 1} if number % 2 else {"stage": "Production"}
            online = {"pool": "pool", "replicas": 1}
            yield _in(space, manifests.deployment(f"dep-{number}", model=model, online=online))

    def make_policies(self) -> Iterator[Raw]:
        """Each watches a Deployment, and would alert."""
        for space, number in self._over(self.policies):
            watched = f"dep-{number % self._local(self.deployments, space)}"
            action = {"type": "Alert"}
            yield _in(space, manifests.policy(f"drift-{number}", deployment=watched, action=action))

    def _over(self, count: int) -> Iterator[tuple[str, int]]:
        """Namespaces in turn, each with the number of the object within it."""
        for index in range(count):
            yield self.spaces[index % len(self.spaces)], index // len(self.spaces)

    def _local(self, count: int, space: str) -> int:
        """How many of `count` objects lie in a namespace."""
        whole, rest = divmod(count, len(self.spaces))
        return whole + (self.spaces.index(space) < rest)


def namespaces(count: int, prefix: str = "bench") -> tuple[str, ...]:
    """Names of namespaces."""
    return tuple(f"{prefix}-{number}" for number in range(count))


async def create(client: Client, objects: Iterable[Raw], *, at_once: int = AT_ONCE) -> int:
    """Create objects of our kinds, as quickly as the API server takes them; how many there were."""

    async def send(obj: Raw) -> None:
        path = OURS[obj["kind"]].path(obj["metadata"]["namespace"])
        await client.request("create", path, kind=obj["kind"], body=obj)

    return await _all(send, objects, at_once)


async def apply(client: Client, objects: Iterable[Raw], *, manager: str, at_once: int = AT_ONCE) -> int:
    """The same by server-side apply."""

    async def send(obj: Raw) -> None:
        path = OURS[obj["kind"]].path(obj["metadata"]["namespace"], obj["metadata"]["name"])
        query = {"fieldManager": manager, "force": "true"}
        await client.request("apply", path, kind=obj["kind"], query=query, body=obj, content_type=APPLY_PATCH)

    return await _all(send, objects, at_once)


async def _all(send: Callable[[Raw], Awaitable[None]], objects: Iterable[Raw], at_once: int) -> int:
    pending = iter(objects)

    async def some() -> int:
        count = 0
        for obj in pending:
            await send(obj)
            count += 1
        return count

    return sum(await asyncio.gather(*(some() for _ in range(at_once))))


def _in(space: str, obj: Raw) -> Raw:
    return {**obj, "metadata": {**obj["metadata"], "namespace": space}}
