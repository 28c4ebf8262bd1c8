"""From an observed object to the keys in the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.unit.runtime.objects import job, raw

from tidemill.reconcile.plan import Key
from tidemill.reconcile.triggers import RECONCILED_KINDS
from tidemill.runtime.indices import Indices
from tidemill.runtime.intake import Intake
from tidemill.runtime.queue import WorkQueue

DATASET = Key(kind="Dataset", namespace="ns", name="d")


def play(script: Callable[[Intake], Any], *, active: bool = True) -> tuple[list[str], int]:
    """The keys that are queued after a script, in order, and how many are delayed."""

    async def run() -> tuple[list[str], int]:
        queue = WorkQueue()
        intake = Intake(Indices(), queue, RECONCILED_KINDS)
        intake.active = active
        script(intake)
        delayed = queue.delayed
        keys = [str(await queue.take()) for _ in range(len(queue))]
        queue.close()
        return keys, delayed

    return asyncio.run(run())


def test_a_resource_and_its_dependents_are_queued() -> None:
    def script(intake: Intake) -> None:
        intake.active = False
        intake.observed(raw("TrainingRun", "r", spec={"dataset": {"name": "d"}, "model": {"name": "m"}}))
        intake.active = True
        intake.observed(raw("Dataset", "d"))

    assert play(script)[0] == ["Dataset ns/d", "TrainingRun ns/r"]


def test_a_child_queues_its_owner() -> None:
    assert play(lambda intake: intake.observed(job()))[0] == ["Dataset ns/d"]


def test_a_child_that_loses_its_owner_queues_it() -> None:
    def script(intake: Intake) -> None:
        intake.active = False
        intake.observed(job())
        intake.active = True
        orphan = job(version=2)
        del orphan["metadata"]["ownerReferences"]
        intake.observed(orphan)

    assert play(script)[0] == ["Dataset ns/d"]


def test_a_deletion_queues_the_owner_too() -> None:
    def script(intake: Intake) -> None:
        intake.active = False
        intake.observed(job())
        intake.active = True
        assert intake.deleted(job())
        assert not intake.deleted(job())

    assert play(script)[0] == ["Dataset ns/d"]


def test_what_is_new_comes_before_what_was_looked_at_before() -> None:
    def script(intake: Intake) -> None:
        intake.active = False
        intake.observed(raw("Dataset", "old", version=1))
        intake.active = True
        intake.observed(raw("Dataset", "old", version=2, spec={"changed": True}))
        intake.observed(raw("Dataset", "new", version=3))

    assert play(script)[0] == ["Dataset ns/new", "Dataset ns/old"]


def test_the_writer_looks_again_a_little_later() -> None:
    assert play(lambda intake: intake.observed(job(), writer=DATASET)) == ([], 1)


def test_standby_fills_the_cache_and_queues_nothing() -> None:
    assert play(lambda intake: intake.observed(raw()), active=False) == ([], 0)


def test_a_change_of_what_is_not_kept_is_no_reason() -> None:
    def script(intake: Intake) -> None:
        intake.active = False
        intake.observed(job(version=1, status={"active": 1}))
        intake.active = True
        assert intake.observed(job(version=2, status={"active": 1, "uncountedTerminatedPods": {}}))

    assert play(script)[0] == []


def test_what_an_object_pointed_to_before_is_told() -> None:
    def script(intake: Intake) -> None:
        intake.active = False
        intake.observed(raw("ModelPlacement", "p", version=1, spec={"deployment": "a", "pool": "one", "pod": "x"}))
        intake.active = True
        intake.observed(raw("ModelPlacement", "p", version=2, spec={"deployment": "b", "pool": "one", "pod": "x"}))

    keys, delayed = play(script)
    assert (sorted(keys), delayed) == (["Deployment ns/a", "Deployment ns/b"], 1)  # the pool counts a little later


def test_an_edit_of_a_child_of_which_nothing_is_kept_queues_the_owner() -> None:
    def script(intake: Intake) -> None:
        owner = {"kind": "ServingPool", "name": "p", "uid": "u"}
        intake.active = False
        intake.observed(raw("RoleBinding", "r", api="rbac.authorization.k8s.io/v1", version=1, owner=owner))
        intake.active = True
        edited = raw("RoleBinding", "r", api="rbac.authorization.k8s.io/v1", version=2, owner=owner)
        edited["metadata"]["managedFields"] = [
            {"manager": "tidemill", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:subjects": {}}},
            {"manager": "kubectl-edit", "time": "2026-01-01T00:00:01Z", "fieldsV1": {"f:subjects": {}}},
        ]
        intake.observed(edited)

    assert play(script)[0] == ["ServingPool ns/p"]


def pool(version: int, *, placements: int, ready: str) -> dict[str, Any]:
    status = {"placements": placements, "conditions": [{"type": "Ready", "status": ready}]}
    return raw("ServingPool", "p", version=version, spec={"replicas": 1}, status=status)


def users_of_a_pool(intake: Intake) -> None:
    intake.active = False
    intake.observed(raw("Deployment", "one", spec={"model": {"name": "m"}, "online": {"pool": "p"}}))
    intake.observed(pool(1, placements=0, ready="True"))
    intake.active = True


def test_a_pool_that_counts_its_placements_tells_only_itself() -> None:
    def script(intake: Intake) -> None:
        users_of_a_pool(intake)
        intake.observed(pool(2, placements=1, ready="True"))

    assert play(script)[0] == ["ServingPool ns/p"]


def test_a_pool_that_is_no_longer_ready_tells_the_deployments_on_it() -> None:
    def script(intake: Intake) -> None:
        users_of_a_pool(intake)
        intake.observed(pool(2, placements=0, ready="False"))

    assert play(script)[0] == ["ServingPool ns/p", "Deployment ns/one"]


def test_a_dataset_that_says_how_far_it_is_tells_only_itself() -> None:
    def script(intake: Intake) -> None:
        intake.active = False
        intake.observed(raw("TrainingRun", "r", spec={"dataset": {"name": "d"}, "model": {"name": "m"}}))
        intake.observed(raw("Dataset", "d", status={"progress": {"percent": 1}}))
        intake.active = True
        intake.observed(raw("Dataset", "d", version=2, status={"progress": {"percent": 2}}))

    assert play(script)[0] == ["Dataset ns/d"]


def test_many_placements_cost_their_pool_one_reconcile() -> None:
    def script(intake: Intake) -> None:
        for name in ("a", "b", "c"):
            intake.observed(raw("ModelPlacement", name, spec={"deployment": name, "pool": "p", "pod": "p-0"}))

    assert play(script) == (["Deployment ns/a", "Deployment ns/b", "Deployment ns/c"], 1)
