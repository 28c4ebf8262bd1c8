"""Versions that nobody needs go, and never one that anything refers to."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property import fake_jobs, manifests
from tests.property.fake_api import Raw
from tests.property.fake_cluster import NAMESPACE, Killed
from tests.unit.reconcile.datasets import Cluster, condition, digests

from tidemill.api.durations import format_time, parse_time
from tidemill.contract.canonical import short
from tidemill.contract.retention import DatedVersion, Retention, superfluous
from tidemill.contract.tasks import PruneDataset
from tidemill.reconcile import pruning
from tidemill.reconcile.dataset import reconcile_dataset
from tidemill.reconcile.plan import Key

FLIGHTS = Key(kind="Dataset", namespace=NAMESPACE, name="flights")
POLLED = {"onSourceChange": {"interval": "1h"}}
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def cluster_of(retention: Raw | None, **spec: Any) -> Cluster:
    cluster = Cluster()
    cluster.create(manifests.dataset(refresh=POLLED, **({"retention": retention} if retention else {}), **spec))
    cluster.rest()
    return cluster


def versions(cluster: Cluster, number: int) -> list[str]:
    """Let so many more versions come, one an hour; all digests that there ever were, oldest first."""
    for _ in range(number):
        cluster.api.sources = f"{cluster.api.sources}+"
        cluster.at(format_time(cluster.api.now + timedelta(hours=1)))
    made: list[str] = []
    for _, event in cluster.events:
        if event.reason == "Succeeded":
            made.append(event.message.split()[2].rstrip(":"))
    return made


# the rule


def dated(*ages: float) -> tuple[DatedVersion, ...]:
    """Versions of so many hours, newest first."""
    return tuple(
        DatedVersion(digest=f"sha256:{i:064x}"[:71], prepared_at=format_time(NOW - timedelta(hours=age)))
        for i, age in enumerate(ages)
    )


@pytest.mark.parametrize(
    ("retention", "gone"),
    [
        ({"keepVersions": 1}, [1, 2, 3, 4]),
        ({"keepVersions": 3}, [3, 4]),
        ({"keepVersions": 9}, []),
        ({"keepFor": "24h"}, [3, 4]),
        ({"keepFor": "1s"}, [1, 2, 3, 4]),
        ({"keepVersions": 4, "keepFor": "2h"}, [4]),
        ({"keepVersions": 1, "keepFor": "24h"}, [3, 4]),
    ],
)
def test_what_either_keeps_stays(retention: Raw, gone: list[int]) -> None:
    found = dated(1, 2, 24, 25, 100)
    assert superfluous(Retention.model_validate(retention), found, protected=(), now=NOW) == tuple(
        found[i].digest for i in gone
    )


RETENTIONS = st.fixed_dictionaries(
    {}, optional={"keepVersions": st.integers(1, 12), "keepFor": st.integers(1, 60).map(lambda h: f"{h}h")}
).filter(bool)


@given(
    retention=RETENTIONS,
    digests=st.lists(st.integers(0, 15**4), max_size=30, unique=True),
    ages=st.lists(st.integers(0, 100), min_size=30, max_size=30),
    picked=st.sets(st.integers(0, 29)),
)
def test_nothing_that_is_protected_and_never_the_newest(
    retention: Raw, digests: list[int], ages: list[int], picked: set[int]
) -> None:
    wish = Retention.model_validate(retention)
    found = tuple(
        DatedVersion(digest=f"sha256:{n:04x}{'0' * 60}", prepared_at=format_time(NOW - timedelta(hours=age)))
        for n, age in zip(digests, sorted(ages), strict=False)
    )
    protected = {short(found[i].digest) for i in picked if i < len(found)}
    gone = superfluous(wish, found, protected=protected, now=NOW)
    assert not {short(digest) for digest in gone} & protected
    for place, version in enumerate(found):
        young = wish.keep_for is not None and parse_time(version.prepared_at) >= NOW - timedelta(
            hours=int(wish.keep_for[:-1])
        )
        counted = place < (wish.keep_versions or 0)
        if place == 0 or young or counted:
            assert version.digest not in gone
        elif short(version.digest) not in protected:
            assert version.digest in gone


def test_two_versions_of_one_short_digest_both_stay() -> None:
    twins = tuple(
        DatedVersion(digest=f"sha256:{'a' * 12}{i:052x}", prepared_at="2026-01-01T00:00:00Z") for i in range(3)
    )
    assert superfluous(Retention(keep_versions=1), twins, protected={"a" * 12}, now=NOW) == ()


# the course of things


def test_the_newest_so_many_stay() -> None:
    cluster = cluster_of({"keepVersions": 2})
    made = versions(cluster, 4)
    status = cluster.data()
    assert [short(d) for d in digests(status)] == made[:-3:-1]
    assert condition(status, "Pruned") | {"lastTransitionTime": ""} == {
        "type": "Pruned",
        "status": "True",
        "reason": "Pruned",
        "message": "versions removed: 1",
        "lastTransitionTime": "",
        "observedGeneration": 1,
    }
    assert [e.message for _, e in cluster.events if e.reason == "Pruned"] == [
        "versions removed: 1, as spec.retention does not keep them"
    ] * 3
    before = len(cluster.api.writes)
    cluster.look()
    cluster.restart()
    cluster.rest()
    assert len(cluster.api.writes) == before


def test_without_retention_all_stay() -> None:
    cluster = cluster_of(None)
    versions(cluster, 12)
    assert cluster.tasks("PruneDataset") == []
    assert len(digests(cluster.data())) == 10


def test_versions_that_became_too_old_go_without_a_new_one() -> None:
    cluster = cluster_of({"keepFor": "5h"})
    versions(cluster, 2)
    assert len(digests(cluster.data())) == 3
    cluster.at("2026-01-01T05:00:00Z")
    assert len(digests(cluster.data())) == 3
    cluster.at("2026-01-01T05:00:30Z")
    assert len(digests(cluster.data())) == 2
    cluster.at("2026-01-02T00:00:00Z")
    assert len(digests(cluster.data())) == 1, "the newest stays"


def test_what_the_status_has_no_room_for_is_looked_through_after_each_new_version() -> None:
    cluster = cluster_of({"keepVersions": 50})
    versions(cluster, 8)
    assert cluster.tasks("PruneDataset") == []
    versions(cluster, 1)
    assert len(cluster.tasks("PruneDataset")) == 1, "there are ten: who knows what came before"
    cluster.at(format_time(cluster.api.now + timedelta(hours=5)))
    assert len(cluster.tasks("PruneDataset")) == 1
    versions(cluster, 1)
    (task,) = cluster.tasks("PruneDataset")[1:]
    assert isinstance(task, PruneDataset)
    assert [v.digest for v in task.versions] == digests(cluster.data())
    assert task.root == "s3://tidemill/ml/datasets/flights"
    assert len(task.to_json()) < 3000


def test_a_suspended_dataset_keeps_all() -> None:
    cluster = cluster_of(None)
    versions(cluster, 3)
    cluster.api.patch_spec(FLIGHTS, {"suspend": True, "retention": {"keepVersions": 1}})
    cluster.rest()
    assert cluster.tasks("PruneDataset") == []
    cluster.api.patch_spec(FLIGHTS, {"suspend": False})
    cluster.rest()
    assert len(digests(cluster.data())) == 1


def test_a_removal_that_fails_is_said_and_harms_nothing() -> None:
    cluster = cluster_of(None)
    versions(cluster, 3)
    before = digests(cluster.data())
    cluster.api.patch_spec(FLIGHTS, {"retention": {"keepVersions": 1}})
    cluster.rest(end="user")
    status = cluster.data()
    assert digests(status) == before
    assert condition(status, "Ready")["status"] == "True"
    assert condition(status, "Pruned")["status"] == "False"
    assert condition(status, "Pruned")["message"].startswith("versions could not be removed: ")
    writes = len(cluster.api.writes)
    cluster.look()
    assert len(cluster.api.writes) == writes
    for job in cluster.jobs():
        fake_jobs.remove(cluster.api, job)  # its time to live is over
    cluster.rest()
    assert len(digests(cluster.data())) == 1


def test_nothing_is_removed_while_a_version_is_made() -> None:
    cluster = cluster_of(None)
    versions(cluster, 3)
    cluster.api.patch_spec(FLIGHTS, {"retention": {"keepVersions": 1}})
    cluster.operate()
    (pruning_job,) = [job for job in cluster.jobs() if not fake_jobs.is_finished(job)]
    assert pruning_job["metadata"]["labels"]["tidemill.dev/task"] == "PruneDataset"
    cluster.api.patch_spec(FLIGHTS, manifests.dataset(uri="s3://data/other.parquet")["spec"])
    cluster.operate()
    unfinished = [j["metadata"]["labels"]["tidemill.dev/task"] for j in cluster.jobs() if not fake_jobs.is_finished(j)]
    assert unfinished == ["PrepareDataset"], "the one that removes is gone before the other begins"
    cluster.rest()
    assert len(digests(cluster.data())) == 1


def test_more_references_than_a_task_can_hold_keep_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "MOST_PROTECTED", 2)
    cluster = cluster_of(None)
    versions(cluster, 4)
    for number, digest in enumerate(digests(cluster.data())[1:3], start=1):
        cluster.create(manifests.version("delay", number, origin={"dataset": "flights", "datasetDigest": digest}))
    cluster.api.patch_spec(FLIGHTS, {"retention": {"keepVersions": 1}})
    cluster.rest()
    assert len(digests(cluster.data())) == 5
    assert condition(cluster.data(), "Pruned")["message"] == (
        "spec.retention: 3 versions are referred to: beyond 2 none is removed; delete ModelVersions that are not needed"
    )


# what refers to a version


def model(digest: str, **origin: Any) -> Raw:
    return manifests.version("delay", 1, origin={**(origin or {"dataset": "flights"}), "datasetDigest": digest})


def run(digest: str, **spec: Any) -> Raw:
    return manifests.run("first", suspend=True, dataset={"name": "flights", "digest": digest}, **spec)


def dataset(digest: str) -> Raw:
    made = manifests.derived("derived", "flights")
    made["spec"]["inputs"][0]["dataset"]["digest"] = digest
    return made


def policy(digest: str) -> Raw:
    made = manifests.policy("watch", retrain={"base": "other"})
    attempt = {
        "number": 1, "phase": "Comparing", "trigger": "monitor psi", "triggeredAt": "2026-01-01T00:00:00Z",
        "dataset": "flights", "datasetDigest": digest,
    }  # fmt: skip
    return {**made, "status": {"attempts": [attempt]}}


REFERENCES = {
    "lineage of a ModelVersion": model,
    "lineage by folder": lambda digest: model(digest, datasetUri=f"s3://tidemill/ml/datasets/flights/{digest[7:]}"),
    "a TrainingRun that is not over": run,
    "another Dataset": dataset,
    "a DriftPolicy": policy,
}


@pytest.mark.parametrize("what", REFERENCES)
def test_a_version_that_something_refers_to_stays_until_that_is_gone(what: str) -> None:
    cluster = cluster_of(None)
    versions(cluster, 4)
    old = digests(cluster.data())[-1]
    key = cluster.create(REFERENCES[what](old))
    cluster.operate()
    cluster.api.patch_spec(FLIGHTS, {"retention": {"keepVersions": 2}})
    cluster.rest()
    assert digests(cluster.data())[2:] == [old]
    cluster.api.delete(key)
    cluster.rest()
    cluster.look()
    assert len(digests(cluster.data())) == 2


def test_a_distribution_keeps_the_version_that_it_is_held_against() -> None:
    cluster = cluster_of(None)
    versions(cluster, 4)
    old = digests(cluster.data())[-1]
    expected = {"name": "like", "distribution": {"column": "x", "maxPsi": 0.1, "against": old}}
    cluster.api.patch_spec(FLIGHTS, {"retention": {"keepVersions": 1}, "expectations": [expected]})
    cluster.rest()
    assert old in digests(cluster.data())


def test_a_finished_run_keeps_nothing_and_its_model_does() -> None:
    cluster = cluster_of({"keepVersions": 1})
    cluster.create(manifests.run("first", template={"optimise": [], "export": []}))
    cluster.rest()
    old = digests(cluster.data())[0]
    versions(cluster, 3)
    assert digests(cluster.data())[1:] == [old]
    cluster.api.delete(Key(kind="ModelVersion", namespace=NAMESPACE, name="delay-v1"))
    cluster.look()
    assert old not in digests(cluster.data())


def test_what_a_run_has_just_begun_to_read_stays_although_its_status_does_not_say_so() -> None:
    cluster = cluster_of({"keepVersions": 1})
    old = digests(cluster.data())[0]
    key = cluster.create(manifests.run("first"))
    cluster.watch("TrainingRun")
    with pytest.raises(Killed):
        cluster.reconcile(key, kill_after=1)  # its Job is made, its status is not written
    assert cluster.status("TrainingRun", "first") == {}
    cluster.reconcilers = {"Dataset": reconcile_dataset}
    cluster.api.sources = "more"
    cluster.tick(3600)
    cluster.look(jobs="flights-")
    assert digests(cluster.data())[1:] == [old]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_refers_to_a_version_keeps_it(data: st.DataObject) -> None:
    """Random versions, references made and deleted, and retention: an object's own text is the witness."""
    cluster = cluster_of({"keepVersions": data.draw(st.integers(1, 3))})
    made: dict[str, Key] = {}
    ever: set[str] = set(digests(cluster.data()))

    def stays(before: Raw, after: Raw) -> None:
        if after["kind"] != "Dataset" or after["metadata"]["name"] != "flights":
            return
        gone = {v["digest"] for v in (before.get("status") or {}).get("versions", ())} - set(digests(after["status"]))
        witnesses = [o for k, o in cluster.api.objects.items() if k.kind not in ("Job", "Pod") and k != FLIGHTS]
        for digest in gone:
            names = [o["metadata"]["name"] for o in witnesses if digest in json.dumps(o["spec"])]
            assert not names, f"{digest} is removed although {names} refer to it"

    cluster.api.on_status.append(stays)
    for step in range(data.draw(st.integers(3, 9))):
        what = data.draw(st.sampled_from(["version", "version", "refer", "forget"]))
        if what == "version":
            versions(cluster, 1)
            ever |= set(digests(cluster.data()))
        elif what == "refer":
            digest = data.draw(st.sampled_from(digests(cluster.data())))
            kind = data.draw(st.sampled_from(["model", "dataset", "run"]))
            name = f"{kind}-{step}"
            document = {
                "model": manifests.version(name, 1, origin={"dataset": "flights", "datasetDigest": digest}),
                "dataset": dataset(digest),
                "run": run(digest),
            }[kind]
            document["metadata"]["name"] = f"{name}-v1" if kind == "model" else name
            made[name] = cluster.create(document)
            cluster.rest()
        elif made:
            cluster.api.delete(made.pop(data.draw(st.sampled_from(sorted(made)))))
            cluster.rest()
    assert set(digests(cluster.data())) <= ever
