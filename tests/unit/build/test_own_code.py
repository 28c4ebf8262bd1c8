"""The Job of a user's own code, a container or a script: four containers, of which the user's has no store credentials."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.build.test_trainer import CONTAINER, DATA, SETTINGS, run

from tidemill.build.own_code import ANNOTATION_FETCH, ANNOTATION_WATCH
from tidemill.build.trainer import training_job, training_shape
from tidemill.contract.names import ANNOTATION_TASK, PROGRESS_PORT, TASK_PROGRESS_PORT
from tidemill.contract.tasks import TASK, FetchDataset, PublishModel, WatchTraining
from tidemill.contract.trainers import ContainerTrainer, ScriptTrainer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG_MAP = {"configMap": {"name": "training", "key": "fit.py"}, "target": "arr_delay"}
GIT = {
    "git": {"url": "https://git.example.org/delay.git", "revision": COMMIT, "path": "src/fit.py", "secretName": "git"},
    "target": "arr_delay",
}
Manifest = dict[str, Any]


def made(trainer: Manifest, **spec: Any) -> Manifest:
    """The pod's template."""
    template: Manifest = training_job(run(trainer=trainer, **spec), DATA, SETTINGS)["spec"]["template"]
    return template


def container_pod() -> Manifest:
    resources = {"memory": "8Gi", "gpu": {"count": 1}}
    pod: Manifest = made({"container": CONTAINER}, resources=resources)["spec"]
    return pod


def named(pod: Manifest, name: str) -> Manifest:
    found: Manifest = next(c for c in (*pod["initContainers"], *pod["containers"]) if c["name"] == name)
    return found


def environment(container: Manifest) -> dict[str, str]:
    return {e["name"]: e["value"] for e in container["env"] if "value" in e}


def volumes_at(container: Manifest, path: str) -> set[str]:
    return {m["name"] for m in container["volumeMounts"] if m["mountPath"] == path}


def test_a_users_container_stands_between_fetching_and_publishing() -> None:
    template = made({"container": CONTAINER})
    pod, annotations = template["spec"], template["metadata"]["annotations"]
    assert [c["name"] for c in (*pod["initContainers"], *pod["containers"])] == ["fetch", "watch", "trainer", "task"]
    fetch, publish = (TASK.validate_json(annotations[name]) for name in (ANNOTATION_FETCH, ANNOTATION_TASK))
    assert isinstance(fetch, FetchDataset)
    assert isinstance(publish, PublishModel)
    assert fetch.run_root == publish.run_root == "s3://tidemill/ml/runs/first/0123456789"
    assert (fetch.script, publish.kind, type(publish.trainer)) == (None, "container", ContainerTrainer)
    assert TASK.validate_json(annotations[ANNOTATION_WATCH]) == WatchTraining(owner=publish.owner, training=publish)
    assert environment(named(pod, "fetch"))["TIDEMILL_TASK"] == "/etc/tidemill/fetch-task"
    assert environment(named(pod, "watch"))["TIDEMILL_TASK"] == "/etc/tidemill/watch-task"
    files = pod["volumes"][0]["projected"]["sources"][0]["downwardAPI"]["items"]
    assert [f["path"] for f in files] == ["task", "fetch-task", "watch-task"]


def test_a_users_code_sees_its_folders_and_its_gpu_and_no_store_credentials() -> None:
    pod = container_pod()
    trainer = named(pod, "trainer")
    assert environment(trainer) == {
        "HOME": "/tmp",
        "PYTHONUNBUFFERED": "1",
        "SEED": "1",
        "TIDEMILL_CHECKPOINT": "/tidemill/work/checkpoint",
        "TIDEMILL_INPUT": "/tidemill/work/input",
        "TIDEMILL_OUTPUT": "/tidemill/work/output",
        "TIDEMILL_TARGET": "arr_delay",
    }
    assert trainer["envFrom"] == [{"secretRef": {"name": "wandb"}}]
    assert trainer["resources"]["limits"] == {"memory": "8Gi", "nvidia.com/gpu": "1"}
    assert [m["mountPath"] for m in trainer["volumeMounts"]] == ["/tidemill/work", "/tmp"]
    for other in (named(pod, "fetch"), named(pod, "task")):
        assert other["resources"]["limits"] == {"memory": "8Gi"}
    for other in (named(pod, "fetch"), named(pod, "watch"), named(pod, "task")):
        assert not volumes_at(other, "/tmp") & volumes_at(trainer, "/tmp"), "the task's working directory is its own"
    assert volumes_at(trainer, "/tmp") <= {v["name"] for v in pod["volumes"]}


def test_a_sidecar_watches_and_may_only_read_what_it_shares_with_the_users_code() -> None:
    pod = container_pod()
    watch, task = named(pod, "watch"), named(pod, "task")
    assert watch["restartPolicy"] == "Always"
    assert [m.get("readOnly") for m in watch["volumeMounts"] if m["mountPath"] == "/tidemill/work"] == [True]
    told = environment(watch)
    assert told["TIDEMILL_WORK_DIR"] == "/tmp/watch", "the task empties its own while the sidecar runs"
    assert (told["TIDEMILL_OUTPUT"], told["TIDEMILL_CHECKPOINT"]) == (
        "/tidemill/work/output",
        "/tidemill/work/checkpoint",
    )
    assert told["TIDEMILL_IMAGE"] == "ours:1", "it records what trained"
    assert watch["image"] == "worker:1"
    assert told["TIDEMILL_PROGRESS_PORT"] == str(PROGRESS_PORT) == str(watch["ports"][0]["containerPort"])
    assert environment(task)["TIDEMILL_PROGRESS_PORT"] == str(TASK_PROGRESS_PORT) != str(PROGRESS_PORT)
    assert "ports" not in task


def test_what_is_only_to_be_published_needs_neither_code_nor_sidecar() -> None:
    for trainer in ({"container": CONTAINER}, {"script": GIT}):
        job = training_job(run(trainer=trainer), DATA, SETTINGS, stored=True)
        pod = job["spec"]["template"]["spec"]
        assert "initContainers" not in pod
        (task,) = pod["containers"]
        assert task["ports"][0]["containerPort"] == PROGRESS_PORT
        assert "TIDEMILL_PROGRESS_PORT" not in environment(task)


def test_the_failure_policy_names_every_container_but_the_sidecar() -> None:
    rules = training_job(run(trainer={"script": CONFIG_MAP}), DATA, SETTINGS)["spec"]["podFailurePolicy"]["rules"]
    assert [r["onExitCodes"]["containerName"] for r in rules[1:]] == ["fetch", "script", "task"]


def test_a_script_runs_in_the_trainers_image_with_its_parameters() -> None:
    parameters = {
        "rate": "1e-3",
        "layers": "[64, 32]",
        "fast": "true",
        "loss": "huber",
        "limit": "NaN",
        "shell": "$(HOME)",
    }
    script = {**CONFIG_MAP, "parameters": parameters, "args": ["--fast", "$(HOME)"]}
    template = made({"script": script})
    container = named(template["spec"], "script")
    assert container["image"] == "trainer:1"
    assert container["command"] == ["python3", "/tidemill/work/code/fit.py", "--fast", "$$(HOME)"]
    assert container["workingDir"] == "/tidemill/work/code"
    told = environment(container)["TIDEMILL_PARAMETERS"].replace("$$(", "$(")  # as the kubelet gives it
    assert json.loads(told) == {
        "rate": 0.001, "layers": [64, 32], "fast": True, "loss": "huber", "limit": "NaN", "shell": "$(HOME)",
    }  # fmt: skip
    publish = TASK.validate_json(template["metadata"]["annotations"][ANNOTATION_TASK])
    assert isinstance(publish, PublishModel)
    assert (publish.kind, type(publish.trainer), publish.field) == ("script", ScriptTrainer, "spec.trainer.script")
    assert "envFrom" not in container


def test_a_config_map_is_mounted_for_fetching_and_not_needed_for_the_pod_to_start() -> None:
    template = made({"script": CONFIG_MAP})
    pod = template["spec"]
    (source,) = [s["configMap"] for s in pod["volumes"][0]["projected"]["sources"] if "configMap" in s]
    assert source == {"name": "training", "optional": True, "items": [{"key": "fit.py", "path": "code/fit.py"}]}
    assert "/etc/tidemill" not in {m["mountPath"] for m in named(pod, "script")["volumeMounts"]}
    fetch = TASK.validate_json(template["metadata"]["annotations"][ANNOTATION_FETCH])
    assert isinstance(fetch, FetchDataset)
    assert fetch.script is not None
    assert fetch.script.path == "fit.py"


def test_a_repository_s_credentials_are_files_that_the_users_code_does_not_see() -> None:
    pod = made({"script": {**GIT, "image": "python:3.12"}})["spec"]
    (secret,) = [s["secret"] for s in pod["volumes"][0]["projected"]["sources"] if "secret" in s]
    assert [item["path"] for item in secret["items"]] == ["secrets/git/username", "secrets/git/password"]
    script = named(pod, "script")
    assert script["image"] == "python:3.12"
    assert script["command"] == ["python3", "/tidemill/work/code/src/fit.py"]
    assert {m["name"] for m in script["volumeMounts"]} == {"work", "trainer-tmp"}


def test_of_a_distributed_run_torchrun_starts_the_script() -> None:
    template = made({"script": CONFIG_MAP}, distribution={"nodes": 2, "processesPerNode": 2})
    script = named(template["spec"], "script")
    assert script["command"][:3] == ["python3", "-m", "torch.distributed.run"]
    assert script["command"][-1] == "/tidemill/work/code/fit.py"
    used = {word.partition("$(")[2].partition(")")[0] for word in script["command"] if "$(" in word}
    assert used <= {e["name"] for e in script["env"]}, "the kubelet puts in only what the container's environment has"
    assert "--nnodes=$(TIDEMILL_NODES)" in script["command"]


def test_the_default_image_shapes_the_job_and_a_users_image_does_not() -> None:
    newer = SETTINGS.__class__(
        images=SETTINGS.images.__class__(worker="worker:1", trainer="trainer:2", serving="serving:1"),
        store=SETTINGS.store,
    )
    ours, theirs = (
        run(trainer={"script": CONFIG_MAP}).spec,
        run(trainer={"script": {**CONFIG_MAP, "image": "mine"}}).spec,
    )
    assert training_shape(ours, SETTINGS) != training_shape(ours, newer)
    assert training_shape(theirs, SETTINGS) == training_shape(theirs, newer)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"target": "y"}, "set exactly one of: config_map, git"),
        ({**CONFIG_MAP, **GIT}, "set exactly one of: config_map, git"),
        ({**GIT, "git": {**GIT["git"], "path": "a/../b.py"}}, "must lie inside the repository"),  # type: ignore[dict-item]
        ({**GIT, "git": {**GIT["git"], "revision": "main"}}, "revision"),  # type: ignore[dict-item]
        ({**GIT, "git": {**GIT["git"], "url": "https://me:pw@host/x"}}, "url"),  # type: ignore[dict-item]
        ({**GIT, "git": {**GIT["git"], "url": "ssh://host/x"}}, "url"),  # type: ignore[dict-item]
        ({"configMap": {"name": "a", "key": "train.R"}, "target": "y"}, "key"),
    ],
)
def test_a_script_that_cannot_be_is_refused(wrong: Manifest, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ScriptTrainer.model_validate(wrong)
    assert words in str(caught.value)
