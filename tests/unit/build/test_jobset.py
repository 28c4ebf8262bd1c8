"""The JobSet of a run: around the Job that the run would have without it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.build.test_distribution import NETWORK, distributed, environment
from tests.unit.build.test_trainer import DATA, SETTINGS, run

from tidemill.build.trainer import ANNOTATION_DATASET, training_job, training_shape
from tidemill.contract.distribution import Distribution
from tidemill.contract.names import LABEL_QUEUE, MANAGED_BY


def made(*, queue: str | None = None, suspend: bool = False, **options: str) -> dict[str, Any]:
    training = run(trainer=NETWORK, distribution={"nodes": 3, "jobSet": options}, queueName=queue, suspend=suspend)
    return training_job(training, DATA, SETTINGS)


def inside(jobset: dict[str, Any]) -> dict[str, Any]:
    (replicated,) = jobset["spec"]["replicatedJobs"]
    assert replicated["replicas"] == 1
    return dict(replicated["template"])


def test_it_holds_the_job_that_there_would_be_without_it() -> None:
    alone, jobset = training_job(distributed(nodes=3), DATA, SETTINGS), made()
    job = copy.deepcopy(inside(jobset))
    assert jobset["spec"]["suspend"] is alone["spec"].pop("suspend")
    assert jobset["spec"]["ttlSecondsAfterFinished"] == alone["spec"].pop("ttlSecondsAfterFinished")
    assert jobset["spec"]["network"]["subdomain"].startswith("peers-")
    for spec in (alone["spec"], job["spec"]):
        spec["template"]["spec"].pop("subdomain", None)
        spec["template"]["metadata"]["labels"].pop("tidemill.dev/peers")
        for container in spec["template"]["spec"]["containers"]:
            container["env"] = [e for e in container["env"] if e["name"] != "TIDEMILL_RENDEZVOUS"]
    assert job["spec"] == alone["spec"]
    assert jobset["spec"]["failurePolicy"] == {"maxRestarts": 0}


def test_the_pods_meet_at_the_name_that_jobset_gives_the_first() -> None:
    """`<jobset>-<replicated job>-<job>-<pod>.<subdomain>`, from JobSet's documentation of its network."""
    jobset = made()
    (replicated,) = jobset["spec"]["replicatedJobs"]
    name, subdomain = f"{jobset['metadata']['name']}-{replicated['name']}-0-0", jobset["spec"]["network"]["subdomain"]
    assert jobset["spec"]["network"]["publishNotReadyAddresses"] is True, "pods meet before they are ready"
    met = environment({"spec": inside(jobset)["spec"]})["TIDEMILL_RENDEZVOUS"]
    assert met == f"{name}.{subdomain}.ml.svc.cluster.local:29500"


def test_the_job_is_watched_and_the_jobset_is_queued() -> None:
    jobset = made(queue="team")
    assert jobset["metadata"]["labels"][LABEL_QUEUE] == "team"
    assert jobset["spec"]["suspend"] is True
    job = inside(jobset)
    assert LABEL_QUEUE not in job["metadata"]["labels"], "Kueue admits the JobSet as a whole"
    assert MANAGED_BY in job["metadata"]["labels"]
    assert jobset["metadata"]["annotations"][ANNOTATION_DATASET] == DATA.digest
    assert "suspend" not in job["spec"]
    assert "ttlSecondsAfterFinished" not in job["spec"], "the JobSet would make it again"


def test_exclusive_placement_is_jobsets_annotation() -> None:
    notes = made(exclusiveTopology="topology.example.org/rack")["metadata"]["annotations"]
    assert notes["alpha.jobset.sigs.k8s.io/exclusive-topology"] == "topology.example.org/rack"
    assert "alpha.jobset.sigs.k8s.io/exclusive-topology" not in made()["metadata"]["annotations"]


@pytest.mark.parametrize("key", ["", "a b", "/rack", "x/y/z", "-rack", "a" * 64])
def test_a_label_that_no_node_can_have_is_refused(key: str) -> None:
    with pytest.raises(ValidationError):
        Distribution.model_validate({"jobSet": {"exclusiveTopology": key}})


def test_the_shape_of_a_run_without_it_is_what_it_was() -> None:
    """Else an upgrade would make the Jobs again that wait in queues."""
    assert training_shape(distributed(nodes=3).spec, SETTINGS) != training_shape(
        distributed(nodes=3, jobSet={}).spec, SETTINGS
    )
    dumped = Distribution(nodes=3).model_dump(mode="json", exclude={"job_set"})
    assert sorted(dumped) == [
        "join_timeout_seconds", "max_restarts", "min_nodes", "nodes", "processes_per_node", "strategy",
    ]  # fmt: skip


def test_a_model_that_is_stored_already_needs_neither_pods_nor_a_jobset() -> None:
    training = distributed(nodes=3, jobSet={})
    assert training_job(training, DATA, SETTINGS, stored=True)["kind"] == "Job"
