"""Which shard a namespace belongs to, and what is asked of the API server."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.unit.runtime.objects import raw

from tidemill.runtime.indices import Indices
from tidemill.runtime.intake import Intake
from tidemill.runtime.queue import WorkQueue
from tidemill.runtime.shards import EXCLUDED, Shard, count_of, shard_of

NAMES = [f"team-{n}" for n in range(10_000)]
PINNED = {
    "default": [0, 0, 0, 0, 7],
    "team-a": [0, 0, 0, 0, 0],
    "team-b": [0, 1, 1, 1, 6],
    "team-c": [0, 1, 1, 3, 6],
    "ml-prod": [0, 1, 1, 1, 7],
    "kube-system": [0, 0, 0, 3, 3],
}
"""By namespace: its shard of 1, 2, 3, 4 and 8."""


def test_the_shares_never_change() -> None:
    """Another version, or another machine, that answers otherwise would be a second writer."""
    assert {name: [shard_of(name, n) for n in (1, 2, 3, 4, 8)] for name in PINNED} == PINNED


@pytest.mark.parametrize("count", [2, 3, 4, 7, 16])
def test_the_shares_are_even(count: int) -> None:
    sizes = Counter(shard_of(name, count) for name in NAMES)
    assert sorted(sizes) == list(range(count))
    mean = len(NAMES) / count
    assert all(abs(size - mean) < 5 * mean**0.5 for size in sizes.values()), sizes


@pytest.mark.parametrize("count", [1, 2, 3, 7, 15])
def test_one_shard_more_takes_its_share_and_moves_nothing_else(count: int) -> None:
    moved = [name for name in NAMES if shard_of(name, count) != shard_of(name, count + 1)]
    assert {shard_of(name, count + 1) for name in moved} == {count}, "only to the new one"
    assert abs(len(moved) - len(NAMES) / (count + 1)) < 5 * (len(NAMES) / (count + 1)) ** 0.5


def test_every_namespace_has_exactly_one_shard() -> None:
    shards = [Shard(index, 4) for index in range(4)]
    assert all(sum(shard.admits(name) for shard in shards) == 1 for name in NAMES[:500])
    assert all(Shard().admits(name) for name in NAMES[:500])


def test_the_busiest_foreign_namespaces_are_named_to_the_api_server() -> None:
    shard = Shard(0, 2)
    assert shard.field_selector() is None
    foreign = [name for name in NAMES if shard_of(name, 2) == 1][: EXCLUDED + 10]
    for rank, name in enumerate(foreign):
        for _ in range(1 + (rank < EXCLUDED)):
            assert not shard.admits(name)
    assert shard.field_selector() == ",".join(sorted(f"metadata.namespace!={name}" for name in foreign[:EXCLUDED]))
    for _ in range(3):
        shard.admits(foreign[-1])
    assert f"metadata.namespace!={foreign[-1]}" in str(shard.field_selector()).split(",")


def test_what_is_remembered_of_others_is_bounded() -> None:
    shard = Shard(0, 2)
    for name in NAMES:
        shard.admits(name)
    shard.field_selector()
    assert len(shard._foreign) <= EXCLUDED


def test_leases_say_their_shard() -> None:
    assert Shard().lease_name("op") == "op"
    assert Shard(1, 4).lease_name("op") == "op-1-of-4"
    assert [count_of(name, "op") for name in ("op", "op-1-of-4", "op-0-of-16")] == [1, 4, 16]
    assert [count_of(name, "op") for name in ("op-1", "other", "op-x-of-2", "my-op-0-of-2", "op-0-of-2-x")] == [
        None
    ] * 5


def test_objects_of_others_are_neither_kept_nor_queued_nor_mourned() -> None:
    shard = Shard(0, 2)
    ours = next(name for name in NAMES if shard_of(name, 2) == 0)
    theirs = next(name for name in NAMES if shard_of(name, 2) == 1)
    indices, queue = Indices(), WorkQueue()
    intake = Intake(indices, queue, frozenset({"Dataset"}), shard=shard)
    intake.active = True
    assert not intake.observed(raw(namespace=theirs))
    assert not intake.deleted(raw(namespace=theirs))
    assert (indices.count(), len(queue)) == ({}, 0)
    assert intake.observed(raw(namespace=ours)), "a tombstone of theirs would have held it back"
    assert (indices.count(), len(queue)) == ({"Dataset": 1}, 1)
