"""The Job that runs a user's own code, a container or a script: between fetching what it needs and publishing its model.

The pod runs these containers:

- `fetch` downloads the verified dataset, the code of a script, and what an earlier pod left in `$TIDEMILL_CHECKPOINT`;
- `watch` (a sidecar, KEP-753) reads what the user's code writes while it runs: it tells how far it is, and keeps its metrics
  and checkpoints in the store;
- `trainer` or `script` is the user's code, with its accelerator and without any store credential;
- `task` evaluates `model.onnx` and stores it; without those before it, it finds what it stored earlier.

All but the last are init containers: each begins when the one before it is done, but for `watch`, which stays. The user's code
may write to its own root file system as far as a user without privileges can. `/tmp` is the working directory of `watch` and
`task`, which have the store's credentials, so the user's code has a `/tmp` of its own.
"""

from __future__ import annotations

import json
from typing import Any

from tidemill.api.v1alpha1.common import Resources
from tidemill.api.v1alpha1.trainingrun import TrainingRun
from tidemill.build.job import task_job
from tidemill.build.pod import WORK_DIR, container_security, resource_requirements, worker_container
from tidemill.build.settings import BuildSettings
from tidemill.contract.names import (
    CODE_FOLDER,
    ENV_CHECKPOINT,
    ENV_IMAGE,
    ENV_INPUT,
    ENV_JOIN_TIMEOUT,
    ENV_MAX_RESTARTS,
    ENV_NODES,
    ENV_OUTPUT,
    ENV_PARAMETERS,
    ENV_POD_IP,
    ENV_PROCESSES,
    ENV_PROGRESS_PORT,
    ENV_RENDEZVOUS,
    ENV_TARGET,
    ENV_WORK_DIR,
    FETCH_CONTAINER,
    GROUP,
    LABEL_MODEL,
    PROGRESS_PORT,
    SCRIPT_CONTAINER,
    TASK_PROGRESS_PORT,
    TRAINER_CONTAINER,
    WATCH_CONTAINER,
)
from tidemill.contract.tasks import ArtifactRef, FetchDataset, ModelRef, ObjectRef, PublishModel, WatchTraining
from tidemill.contract.trainers import ContainerTrainer, ScriptTrainer
from tidemill.contract.trainers.script import GIT_KEYS

Manifest = dict[str, Any]

ANNOTATION_FETCH, ANNOTATION_WATCH = f"{GROUP}/fetch-task", f"{GROUP}/watch-task"
"""On the pod: the tasks of its init containers, files /etc/tidemill/fetch-task and /etc/tidemill/watch-task."""
USER_TMP = "trainer-tmp"
INPUT_DIR, OUTPUT_DIR, CHECKPOINT_DIR = f"{WORK_DIR}/input", f"{WORK_DIR}/output", f"{WORK_DIR}/checkpoint"
CODE_DIR = f"{WORK_DIR}/{CODE_FOLDER}"
WATCH_DIR = "/tmp/watch"
"""Where the sidecar works: the task, which begins while it runs, empties its own working directory."""
WATCHING = Resources(cpu="20m", memory="128Mi")
"""What the sidecar needs besides the run's own resources."""


def own_code_job(
    run: TrainingRun,
    publish: PublishModel,
    settings: BuildSettings,
    *,
    request: str,
    shape: str,
    stored: bool,
) -> Manifest:
    """The Job. `stored`: the model is in the store already, and only its result is missing."""
    spec, owner, trainer = run.spec, publish.owner, publish.trainer
    without_gpu = spec.resources.model_copy(update={"gpu": None})
    script = trainer if isinstance(trainer, ScriptTrainer) else None
    fetch = FetchDataset(owner=owner, dataset=publish.dataset, script=script, run_root=publish.run_root)
    tasks = {} if stored else _tasks(fetch, WatchTraining(owner=owner, training=publish))
    job = task_job(
        owner=owner,
        what="train",
        task=publish,
        image=settings.images.worker,
        resources=without_gpu,
        options=spec.job,
        settings=settings,
        placement=spec.placement,
        labels={LABEL_MODEL: spec.model.name},
        secrets={script.git.secret_name: GIT_KEYS} if script and script.git and script.git.secret_name else None,
        suspend=spec.suspend,
        queue_name=spec.queue_name,
        init_containers=() if stored else _before(run, owner, trainer, without_gpu, settings),
        annotations=tasks,
        request=request,
        shape=shape,
    )
    if stored:
        return job
    pod = job["spec"]["template"]["spec"]
    pod["volumes"].append({"name": USER_TMP, "emptyDir": {}})
    if script and script.config_map:
        pod["volumes"][0]["projected"]["sources"].append(_mounted(script))
    (task,) = pod["containers"]
    del task["ports"]  # the sidecar's: it tells what the task says, too
    task["env"].append({"name": ENV_PROGRESS_PORT, "value": str(TASK_PROGRESS_PORT)})
    return job


def _tasks(fetch: FetchDataset, watch: WatchTraining) -> dict[str, str]:
    return {ANNOTATION_FETCH: fetch.to_json(), ANNOTATION_WATCH: watch.to_json()}


def _before(
    run: TrainingRun,
    owner: ObjectRef,
    trainer: ContainerTrainer | ScriptTrainer,
    resources: Resources,
    settings: BuildSettings,
) -> tuple[Manifest, ...]:
    """The init containers."""
    fetch = worker_container(
        name=FETCH_CONTAINER,
        image=settings.images.worker,
        resources=resources,
        settings=settings,
        namespace=owner.namespace,
        task_file=ANNOTATION_FETCH.rpartition("/")[2],
        port=False,
    )
    if isinstance(trainer, ScriptTrainer):
        user = script_container(trainer, run, settings)
    else:
        user = user_container(trainer, run.spec.resources, settings)
    return fetch, _watch(owner, user["image"], settings), user


def _watch(owner: ObjectRef, image: str, settings: BuildSettings) -> Manifest:
    """The sidecar. It may only read what it shares with the user's code; `image` is what it records as having trained."""
    container = worker_container(
        name=WATCH_CONTAINER,
        image=settings.images.worker,
        resources=WATCHING,
        settings=settings,
        namespace=owner.namespace,
        task_file=ANNOTATION_WATCH.rpartition("/")[2],
    )
    told = {ENV_WORK_DIR: WATCH_DIR, ENV_IMAGE: image}
    for entry in container["env"]:
        if entry["name"] in told:
            entry["value"] = told[entry["name"]]
    container["env"] += [
        {"name": ENV_PROGRESS_PORT, "value": str(PROGRESS_PORT)},
        {"name": ENV_OUTPUT, "value": OUTPUT_DIR},
        {"name": ENV_CHECKPOINT, "value": CHECKPOINT_DIR},
    ]
    for mount in container["volumeMounts"]:
        if mount["mountPath"] == WORK_DIR:
            mount["readOnly"] = True
    container["restartPolicy"] = "Always"
    return container


def _mounted(script: ScriptTrainer) -> Manifest:
    """The file of a ConfigMap at `/etc/tidemill/code/<key>`, for `fetch`. It is optional for the kubelet: a missing one then
    ends in a failure that names it, instead of a pod that never starts and whose events alone say why."""
    assert script.config_map is not None
    name, key = script.config_map.name, script.config_map.key
    return {"configMap": {"name": name, "optional": True, "items": [{"key": key, "path": f"{CODE_FOLDER}/{key}"}]}}


def user_container(trainer: ContainerTrainer, resources: Resources, settings: BuildSettings) -> Manifest:
    """The user's own container."""
    container = _users(trainer, TRAINER_CONTAINER, trainer.image, {}, resources, settings)
    if trainer.command is not None:
        container["command"] = list(trainer.command)
    if trainer.args is not None:
        container["args"] = list(trainer.args)
    return container


def script_container(trainer: ScriptTrainer, run: TrainingRun, settings: BuildSettings) -> Manifest:
    """Python with the user's file; of a distributed training started by torchrun, in every process."""
    parameters = json.dumps(trainer.values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    image = trainer.image or settings.images.trainer
    env = {ENV_PARAMETERS: _literal(parameters)}
    container = _users(trainer, SCRIPT_CONTAINER, image, env, run.spec.resources, settings)
    start = _TORCHRUN if run.spec.distribution else ()
    container["command"] = ["python3", *start, f"{CODE_DIR}/{trainer.path}", *map(_literal, trainer.args)]
    container["workingDir"] = CODE_DIR
    return container


_TORCHRUN = (
    "-m", "torch.distributed.run", f"--nnodes=$({ENV_NODES})", f"--nproc-per-node=$({ENV_PROCESSES})",
    f"--max-restarts=$({ENV_MAX_RESTARTS})", "--rdzv-backend=c10d", "--rdzv-id=run", f"--rdzv-endpoint=$({ENV_RENDEZVOUS})",
    f"--rdzv-conf=join_timeout=$({ENV_JOIN_TIMEOUT})", f"--local-addr=$({ENV_POD_IP})",
)  # fmt: skip
"""The kubelet puts the values in."""


def _literal(argument: str) -> str:
    """As the kubelet gives it back unchanged: it would expand `$(NAME)`."""
    return argument.replace("$(", "$$(")


def _users(
    trainer: ContainerTrainer | ScriptTrainer,
    name: str,
    image: str,
    extra: dict[str, str],
    resources: Resources,
    settings: BuildSettings,
) -> Manifest:
    """What both have in common."""
    folders = {ENV_INPUT: INPUT_DIR, ENV_OUTPUT: OUTPUT_DIR, ENV_CHECKPOINT: CHECKPOINT_DIR}
    fixed = {**folders, ENV_TARGET: _literal(trainer.target), **extra}
    env = {"HOME": "/tmp", "PYTHONUNBUFFERED": "1", **{e.name: e.value for e in trainer.env}, **fixed}
    container: Manifest = {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.images.pull_policy,
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "resources": resource_requirements(resources),
        "securityContext": container_security(read_only=False),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "work", "mountPath": WORK_DIR}, {"name": USER_TMP, "mountPath": "/tmp"}],
    }
    if trainer.env_from_secret:
        container["envFrom"] = [{"secretRef": {"name": trainer.env_from_secret}}]
    return container


def publishing(
    run: TrainingRun,
    owner: ObjectRef,
    trainer: ContainerTrainer | ScriptTrainer,
    dataset: ArtifactRef,
    *,
    production: ModelRef | None,
    run_root: str,
    model_root: str,
) -> PublishModel:
    """The task that ends the pod."""
    return PublishModel(
        owner=owner,
        dataset=dataset,
        kind="script" if isinstance(trainer, ScriptTrainer) else "container",
        trainer=trainer,
        gates=run.spec.gates,
        evaluation=run.spec.evaluation,
        production=production,
        run_root=run_root,
        model_root=model_root,
    )
