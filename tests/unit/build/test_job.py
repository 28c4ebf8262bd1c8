"""The Job of a task."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tidemill.api.v1alpha1.common import GPU, JobOptions, NodePlacement, Resources, Toleration
from tidemill.build.job import job_name, request_of, task_job
from tidemill.build.metadata import LABEL_GENERATION, LABEL_REQUEST
from tidemill.build.pod import CREDENTIAL_KEYS
from tidemill.build.settings import BuildSettings, Images, Store
from tidemill.contract.names import ANNOTATION_TASK, LABEL_QUEUE, NAME_LIMIT
from tidemill.contract.tasks import TASK, ArtifactRef, ObjectRef, VerifyModel

SETTINGS = BuildSettings(
    images=Images(worker="worker:1", trainer="trainer:1", serving="serving:1", pull_secrets=("registry",)),
    store=Store(bucket="tidemill"),
    pod_labels={"team": "ml"},
)
ARTIFACT = ArtifactRef(uri="s3://models/delay", digest="sha256:" + "a" * 64)


def owner(name: str = "delay-v1", generation: int = 1, uid: str = "u1") -> ObjectRef:
    return ObjectRef(kind="ModelVersion", namespace="ml", name=name, uid=uid, generation=generation)


def job(ref: ObjectRef | None = None, **options: object) -> dict:
    ref = ref or owner()
    arguments = {
        "owner": ref,
        "what": "verify",
        "task": VerifyModel(owner=ref, artifact=ARTIFACT),
        "image": "worker:1",
        "resources": Resources(),
        "options": JobOptions(),
        "settings": SETTINGS,
        **options,
    }
    return task_job(**arguments)  # type: ignore[arg-type]


def test_the_task_comes_back_from_the_annotation() -> None:
    text = job()["spec"]["template"]["metadata"]["annotations"][ANNOTATION_TASK]
    assert TASK.validate_json(text) == VerifyModel(owner=owner(), artifact=ARTIFACT)


def test_the_name_follows_the_task_and_fits() -> None:
    names = {
        job(ref)["metadata"]["name"]
        for ref in (owner(), owner(generation=2), owner(uid="u2"), owner("x" * 63), owner("x" * 62 + "y"))
    }
    assert len(names) == 5
    assert all(len(name) <= NAME_LIMIT for name in names)
    assert job()["metadata"]["name"] == job()["metadata"]["name"]


def test_a_request_names_the_job_whatever_the_task_holds() -> None:
    one = VerifyModel(owner=owner(), artifact=ARTIFACT)
    other = VerifyModel(owner=owner(), artifact=ARTIFACT.model_copy(update={"uri": "s3://models/other"}))
    assert job_name(owner(), "verify", one, "r") == job_name(owner(), "verify", other, "r")
    assert job_name(owner(), "verify", one) != job_name(owner(), "verify", other)
    assert request_of(one) == request_of(VerifyModel(owner=owner(generation=7), artifact=ARTIFACT))


def test_labels_say_what_is_asked_and_by_which_generation() -> None:
    labels = job(owner(generation=3))["metadata"]["labels"]
    assert labels[LABEL_GENERATION] == "3"
    assert labels[LABEL_REQUEST] == request_of(VerifyModel(owner=owner(), artifact=ARTIFACT))
    pod = job()["spec"]["template"]["metadata"]["labels"]
    assert pod["team"] == "ml"
    assert pod["tidemill.dev/modelversion"] == "delay-v1"


def test_the_pod_is_restricted() -> None:
    pod = job()["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    writable = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
    assert writable == ["/tidemill/work", "/tmp"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]


def test_credentials_are_files_beside_the_task() -> None:
    volumes = job(secrets={"b": ("B",), "a": CREDENTIAL_KEYS})["spec"]["template"]["spec"]["volumes"]
    sources = volumes[0]["projected"]["sources"]
    assert [s["secret"]["name"] for s in sources[1:]] == ["a", "b"]
    assert sources[1]["secret"]["optional"] is True
    assert [i["path"] for i in sources[1]["secret"]["items"]] == [
        "secrets/a/AWS_ACCESS_KEY_ID",
        "secrets/a/AWS_SECRET_ACCESS_KEY",
    ]
    assert [i["key"] for i in sources[2]["secret"]["items"]] == ["B"], "no key that the task has no use for"


def test_failures_are_told_apart_by_exit_code() -> None:
    rules = job()["spec"]["podFailurePolicy"]["rules"]
    assert rules[0]["action"] == "Ignore"
    assert rules[1]["action"] == "FailJob"
    assert rules[1]["onExitCodes"] == {"containerName": "task", "operator": "In", "values": list(range(64, 79))}


@pytest.mark.parametrize("asked", [60, 7200, None])
def test_a_finished_job_stays_as_long_as_asked(asked: int | None) -> None:
    spec = job(options=JobOptions(ttl_seconds_after_finished=asked))["spec"]
    assert spec.get("ttlSecondsAfterFinished") == asked


def test_a_job_cannot_go_before_its_result_is_read() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 60"):
        JobOptions(ttl_seconds_after_finished=59)


def test_kueue_gets_a_suspended_job_with_its_label() -> None:
    queued = job(queue_name="gpus")
    assert queued["metadata"]["labels"][LABEL_QUEUE] == "gpus"
    assert queued["spec"]["suspend"] is True
    assert LABEL_QUEUE not in job()["metadata"]["labels"]
    assert job()["spec"]["suspend"] is False
    assert job(suspend=True)["spec"]["suspend"] is True


def test_resources_and_placement_reach_the_pod() -> None:
    placement = NodePlacement(
        node_selector={"pool": "gpu"},
        tolerations=(Toleration(key="gpu", operator="Exists"),),
        priority_class_name="training",
    )
    gpu = Resources(cpu="4", memory="8Gi", gpu=GPU(count=2, resource_name="amd.com/gpu"))
    options = JobOptions(backoff_limit=7, active_deadline_seconds=60)
    spec = job(resources=gpu, placement=placement, options=options)["spec"]
    pod = spec["template"]["spec"]
    assert pod["containers"][0]["resources"] == {
        "requests": {"cpu": "4", "memory": "8Gi"},
        "limits": {"memory": "8Gi", "amd.com/gpu": "2"},
    }
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert pod["priorityClassName"] == "training"
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (7, 60)


def test_claims_are_mounted_once_and_read_only() -> None:
    long = "data." + "x" * 200
    pod = job(claims=["share", long, "share"])["spec"]["template"]["spec"]
    volumes = [v for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert [v["persistentVolumeClaim"] for v in volumes] == [
        {"claimName": long, "readOnly": True},
        {"claimName": "share", "readOnly": True},
    ]
    mounts = {m["name"]: m for m in pod["containers"][0]["volumeMounts"]}
    for volume in volumes:
        claim = volume["persistentVolumeClaim"]["claimName"]
        assert len(volume["name"]) <= 63
        assert mounts[volume["name"]] == {
            "name": volume["name"],
            "mountPath": f"/tidemill/volumes/{claim}",
            "readOnly": True,
        }
    assert "persistentVolumeClaim" not in str(job()["spec"])
