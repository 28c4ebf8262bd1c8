"""PruneDataset against a real store: what goes, what stays, and what an interruption leaves."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidemill_worker.context import Context
from tidemill_worker.errors import AccessDenied, ObjectNotFound, Terminated
from tidemill_worker.store import Store
from tidemill_worker.tasks import prune_dataset

from .lab import Lab
from .samples import prepare, rows, s3

Document = dict[str, Any]
NOW = datetime.now(UTC)


def versions(lab: Lab, number: int) -> list[str]:
    """Real versions, the newest first."""
    made = []
    for i in range(number):
        uri = lab.put_table(f"in/{uuid.uuid4().hex}.parquet", rows(20 + i))
        made.insert(0, lab.run(prepare(lab, s3("a", uri))).artifact.digest)
    return made


def at(hours: float) -> str:
    return (NOW + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def dated(digests: list[str], *, hours: float = 1) -> list[Document]:
    return [{"digest": d, "preparedAt": at(-hours * i)} for i, d in enumerate(digests)]


def prune(lab: Lab, known: list[Document], *, protected: tuple[str, ...] = (), **retention: Any) -> Document:
    return {
        "type": "PruneDataset",
        "root": f"{lab.root}/datasets/flights",
        "retention": retention,
        "versions": known,
        "protected": [digest[7:19] for digest in protected],
    }


def stored(lab: Lab) -> set[str]:
    """The versions that lie there, complete or not."""
    names = {name.split("/")[2] for name in lab.list("datasets/flights/") if "/tasks/" not in name}
    return {f"sha256:{name}" for name in names}


def test_the_newest_so_many_stay_and_the_others_are_gone_to_the_last_object(lab: Lab) -> None:
    made = versions(lab, 5)
    result = lab.run(prune(lab, dated(made), keepVersions=2))
    assert result.removed == 3
    assert list(result.gone) == made[2:]
    assert stored(lab) == set(made[:2])
    again = lab.run(
        prepare(lab, {"name": "a", "dataset": {"uri": f"{lab.root}/datasets/flights/{made[0][7:]}", "digest": made[0]}})
    )
    assert sum(again.rows.values()) == 24
    repeated = lab.run(prune(lab, dated(made), keepVersions=2))
    assert (repeated.removed, list(repeated.gone)) == (0, made[2:]), "what is gone already is gone"


def test_what_is_protected_stays(lab: Lab) -> None:
    made = versions(lab, 4)
    result = lab.run(prune(lab, dated(made), keepVersions=1, protected=(made[2],)))
    assert list(result.gone) == [made[1], made[3]]
    assert stored(lab) == {made[0], made[2]}


def test_versions_that_the_status_has_forgotten_count_by_their_own_time(lab: Lab) -> None:
    made = versions(lab, 6)
    known, forgotten = made[:3], made[3:]
    times = [2, 1, -1]  # two became the newest after the forgotten ones were written, one before
    listed = [{"digest": d, "preparedAt": at(hours)} for d, hours in zip(known, times, strict=True)]
    result = lab.run(prune(lab, listed, keepVersions=3, protected=(forgotten[-1],)))
    assert list(result.gone) == [known[2]]
    left = stored(lab) - {*known[:2]}
    assert left <= set(forgotten), "the third is one of the forgotten"
    assert forgotten[-1] in left
    assert result.removed == 4 - len(left)


def test_the_order_is_that_of_the_status(lab: Lab) -> None:
    made = versions(lab, 3)
    oldest_again = [made[2], made[0], made[1]]  # its rows came back: it was not written anew
    lab.run(prune(lab, dated(oldest_again), keepVersions=1))
    assert stored(lab) == {made[2]}


def test_by_age(lab: Lab) -> None:
    made = versions(lab, 4)
    result = lab.run(prune(lab, dated(made, hours=10), keepFor="15h"))
    assert list(result.gone) == made[2:]
    unknown = versions(lab, 1)
    lab.run(prune(lab, dated(made[:1], hours=10), keepFor="15h"))
    assert stored(lab) == {*made[:2], *unknown}, "written just now"


def test_nothing_else_under_the_root_is_touched(lab: Lab) -> None:
    made = versions(lab, 2)
    others = [
        lab.put("datasets/flights/notes.txt", b"mine"),
        lab.put("datasets/flights/not-a-digest/manifest.json", b"{}"),
        lab.put(f"datasets/flights-2/{'a' * 64}/manifest.json", b"{}"),
    ]
    lab.run(prune(lab, dated(made), keepVersions=1))
    for uri in others:
        assert lab.get(uri)
    assert len(lab.list("datasets/flights/tasks/")) == 2


def watched(lab: Lab, on_delete: Callable[[int, str], None]) -> Context:
    """A context whose store tells of every deletion before it is done."""
    context = lab.context()

    class Telling(Store):
        number = 0

        def delete(self, uri: str) -> None:
            Telling.number += 1
            on_delete(Telling.number, uri)
            super().delete(uri)

    store = Telling.__new__(Telling)
    store.__dict__.update(context.store.__dict__)
    return Context(environment=context.environment, store=store, tracker=context.tracker)


def test_the_manifest_goes_first_and_readers_see_no_half(lab: Lab) -> None:
    made = versions(lab, 2)
    uri = f"{lab.root}/datasets/flights/{made[1][7:]}"
    gone: list[str] = []
    lab.run(prune(lab, dated(made), keepVersions=1), watched(lab, lambda _, deleted: gone.append(deleted)))
    assert gone[0] == f"{uri}/manifest.json"
    assert len(gone) > 5


@pytest.mark.parametrize("after", [1, 2, 4])
def test_an_interrupted_removal_is_ended_by_the_next_run(lab: Lab, after: int) -> None:
    made = versions(lab, 3)

    def stop(number: int, _: str) -> None:
        if number > after:
            raise Terminated

    with pytest.raises(Terminated):
        lab.run(prune(lab, dated(made), keepVersions=1), watched(lab, stop))
    ref = {"uri": f"{lab.root}/datasets/flights/{made[1][7:]}", "digest": made[1]}
    with pytest.raises(ObjectNotFound, match=r"has no manifest.json"):
        lab.run(prepare(lab, {"name": "a", "dataset": ref}))
    result = lab.run(prune(lab, dated(made), keepVersions=1))
    assert list(result.gone) == made[1:]
    assert stored(lab) == {made[0]}


def test_remains_of_an_unknown_version_go_after_a_day(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made = versions(lab, 1)
    lab.put(f"datasets/flights/{'b' * 64}/train.parquet", b"half")
    lab.run(prune(lab, dated(made), keepVersions=1))
    assert f"sha256:{'b' * 64}" in stored(lab), "it may be being written"
    monkeypatch.setattr(prune_dataset, "ABANDONED", timedelta(0))
    assert lab.run(prune(lab, dated(made), keepVersions=1)).removed == 0
    assert stored(lab) == {made[0]}


def test_without_the_right_to_delete(lab: Lab) -> None:
    made = versions(lab, 2)

    def refuse(_: int, uri: str) -> None:
        raise AccessDenied(f"the store refused access to {uri}")

    with pytest.raises(AccessDenied):
        lab.run(prune(lab, dated(made), keepVersions=1), watched(lab, refuse))
    assert stored(lab) == set(made)
