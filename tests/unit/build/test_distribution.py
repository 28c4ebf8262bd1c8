"""The Job of a run on several pods: how the pods find each other, and what they are told."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.build.test_trainer import CONTAINER, DATA, SETTINGS, run

from tidemill.api.v1alpha1.trainingrun import TrainingRun
from tidemill.build.distribution import peers_service
from tidemill.build.modelversion import config_digest
from tidemill.build.trainer import training_job, training_shape
from tidemill.contract.names import ANNOTATION_TASK, NAME_LIMIT
from tidemill.contract.tasks import TASK

NETWORK = {"tabularRegression": {"target": "arr_delay"}}


def distributed(**distribution: object) -> TrainingRun:
    return run(trainer=NETWORK, distribution=distribution)


def job_of(training: TrainingRun) -> dict[str, Any]:
    return training_job(training, DATA, SETTINGS)


def environment(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def test_the_pods_are_told_all_that_torchrun_must_know() -> None:
    job = job_of(distributed(nodes=4, minNodes=2, processesPerNode=8, strategy="FSDP", maxRestarts=1))
    told = environment(job)
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 4
    assert told["TIDEMILL_NODES"] == "2:4"
    assert told["TIDEMILL_PROCESSES_PER_NODE"] == "8"
    assert told["TIDEMILL_STRATEGY"] == "FSDP"
    assert told["TIDEMILL_MAX_RESTARTS"] == "1"
    assert told["TIDEMILL_JOIN_TIMEOUT"] == "1800"
    assert told["TIDEMILL_POD_IP"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    assert environment(job_of(distributed(nodes=3)))["TIDEMILL_NODES"] == "3"


def test_they_meet_at_pod_0_by_its_name_in_dns() -> None:
    job = job_of(distributed())
    pod, name = job["spec"]["template"], job["metadata"]["name"]
    service = peers_service(distributed(), {"metadata": {**job["metadata"], "uid": "j-1"}})
    host, _, port = environment(job)["TIDEMILL_RENDEZVOUS"].rpartition(":")
    # a pod of an Indexed Job is called <job>-<index>.<subdomain>, and the subdomain is the name of a headless Service
    assert host == f"{name}-0.{service['metadata']['name']}.ml.svc.cluster.local"
    assert pod["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"], "pods meet before they are ready"
    assert [p["port"] for p in service["spec"]["ports"]] == [int(port)]
    assert [(o["kind"], o["name"], o["uid"]) for o in service["metadata"]["ownerReferences"]] == [("Job", name, "j-1")]


@pytest.mark.parametrize("name", ["a" * 63, "2" * 63, "first"])
def test_every_name_has_room_for_the_pods_number(name: str) -> None:
    training = distributed(nodes=256)
    training = training.model_copy(update={"metadata": training.metadata.model_copy(update={"name": name})})
    job = job_of(training)
    service = peers_service(training, {"metadata": {**job["metadata"], "uid": "j-1"}})["metadata"]["name"]
    assert len(f"{job['metadata']['name']}-255") <= NAME_LIMIT
    assert len(service) <= NAME_LIMIT
    assert service[0].isalpha(), "names of Services begin with a letter"


def test_the_task_and_the_models_lineage_do_not_depend_on_how_many_train() -> None:
    """So a checkpoint fits whatever number of pods goes on with it."""
    tasks = {
        job_of(training)["spec"]["template"]["metadata"]["annotations"][ANNOTATION_TASK]
        for training in (run(trainer=NETWORK), distributed(), distributed(nodes=9, strategy="FSDP"))
    }
    assert len(tasks) == 1
    assert not hasattr(TASK.validate_json(tasks.pop()), "distribution")
    assert config_digest(distributed().spec) == config_digest(run(trainer=NETWORK).spec)


def test_retries_are_counted_for_each_pod() -> None:
    spec = job_of(run(trainer=NETWORK, distribution={"nodes": 4, "minNodes": 3}, job={"backoffLimit": 5}))["spec"]
    assert "backoffLimit" not in spec, "four pods end when one does"
    assert (spec["backoffLimitPerIndex"], spec["maxFailedIndexes"]) == (5, 1)
    assert job_of(distributed(nodes=4))["spec"]["maxFailedIndexes"] == 0
    assert spec["podFailurePolicy"]["rules"], "what blames the user's input still ends the Job at once"


def test_a_job_that_has_not_started_is_made_anew_for_another_number_of_pods() -> None:
    shapes = {training_shape(r.spec, SETTINGS) for r in (run(trainer=NETWORK), distributed(), distributed(nodes=3))}
    assert len(shapes) == 3
    assert training_shape(distributed().spec, SETTINGS) == training_shape(distributed().spec, SETTINGS)


def test_every_container_of_a_users_image_is_told_too() -> None:
    training = run(trainer={"container": CONTAINER}, distribution={"nodes": 3, "processesPerNode": 8})
    job = job_of(training)
    pod = job["spec"]["template"]["spec"]
    assert job["spec"]["completions"] == 3
    for container in (*pod["initContainers"], *pod["containers"]):
        told = [entry for entry in container["env"] if entry["name"] == "TIDEMILL_NODES"]
        assert told == [{"name": "TIDEMILL_NODES", "value": "3"}], container["name"]


def test_what_a_user_sets_does_not_hide_what_the_pods_must_know() -> None:
    mine = {
        **CONTAINER,
        "env": [{"name": "TIDEMILL_RENDEZVOUS", "value": "elsewhere:1"}, {"name": "SEED", "value": "1"}],
    }
    (_, _, trainer), (task,) = (
        job_of(run(trainer={"container": mine}, distribution={}))["spec"]["template"]["spec"][part]
        for part in ("initContainers", "containers")
    )
    hosts = [[e["value"] for e in c["env"] if e["name"] == "TIDEMILL_RENDEZVOUS"] for c in (trainer, task)]
    assert hosts[0] == hosts[1]
    assert len(hosts[0]) == 1
    assert {"name": "SEED", "value": "1"} in trainer["env"]


def test_a_model_that_is_stored_already_needs_one_pod() -> None:
    training = run(trainer={"container": CONTAINER}, distribution={})
    job = training_job(training, DATA, SETTINGS, stored=True)
    assert "subdomain" not in job["spec"]["template"]["spec"]
    assert job["spec"]["completions"] == 1


def test_other_runs_have_none_of_it() -> None:
    for job in (job_of(run(trainer=NETWORK)), job_of(run(trainer={"container": CONTAINER}))):
        assert "subdomain" not in job["spec"]["template"]["spec"]
        assert "tidemill.dev/peers" not in job["spec"]["template"]["metadata"]["labels"]
        assert not [name for name in environment(job) if name in ("TIDEMILL_NODES", "TIDEMILL_RENDEZVOUS")]
