"""What refers to a version of a Dataset keeps it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property import manifests
from tests.property.fake_api import Raw
from tests.property.fake_cluster import NAMESPACE, Killed
from tests.unit.reconcile.datasets import digests
from tests.unit.reconcile.retaining import FLIGHTS, cluster_of, versions

from tidemill.reconcile.dataset import reconcile_dataset
from tidemill.reconcile.plan import Key


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
