"""Small reconcilers that use every way of the driver, and a main program that runs the real engine with them.

`python -m tests.glue.tiny FLAGS…` is the operator of the glue tests: a process of its own, so that it can be killed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import Any

from tidemill.api.v1alpha1 import Dataset, TrainingRun
from tidemill.contract.names import API_VERSION, COMPONENT, LABEL_DATASET, LABEL_RUN, LABEL_TASK, child_name
from tidemill.contract.reasons import Reason
from tidemill.kube.config import load as load_connection
from tidemill.reconcile.conditions import ConditionSet, finish
from tidemill.reconcile.observed import Context, Object, Observed
from tidemill.reconcile.plan import Child, Event, Key, Manifest, Patch, Plan
from tidemill.runtime import logs
from tidemill.runtime.app import App
from tidemill.runtime.driver import Reconciler
from tidemill.runtime.options import load


def run_to_job(obj: Object, observed: Observed, context: Context) -> Plan:
    """A TrainingRun makes a suspended Job of real size, by `create`; its status names the Job."""
    run = TrainingRun.model_validate(obj)
    meta, generation = run.metadata, run.metadata.generation
    name = child_name(meta.name, "train", meta.uid[:8])
    job = observed.get("Job", meta.namespace, name)
    conditions = ConditionSet(run.status, generation=generation, now=context.now)
    if job is not None and job.get("status"):
        conditions.ready(Reason.SUCCEEDED.value, "the Job controller has seen the Job")
    else:
        conditions.reconciling(Reason.PENDING.value, f"Job {name} is being made")
    status = run.status.model_copy(update={"job_name": name})
    return Plan(
        children=(Child(manifest=_job(name, run), mode="create"),),
        status=finish(status, conditions, generation=generation),
    )


def dataset_to_service(obj: Object, observed: Observed, context: Context) -> Plan:
    """A Dataset makes a Service, by `apply`; suspended it makes none and deletes the one that there is.

    One with the annotation tidemill.dev/poison is a mistake of the reconciler itself: it always fails.
    """
    dataset = Dataset.model_validate(obj)
    meta, generation = dataset.metadata, dataset.metadata.generation
    if "tidemill.dev/poison" in meta.annotations:
        raise RuntimeError(f"{meta.name} is poisonous")
    name = child_name(meta.name, "inputs")
    conditions = ConditionSet(dataset.status, generation=generation, now=context.now)
    existing = observed.get("Service", meta.namespace, name)
    key = Key(kind="Service", namespace=meta.namespace, name=name)
    if dataset.spec.suspend:
        conditions.not_ready(Reason.SUSPENDED.value)
    else:
        conditions.ready(Reason.SUCCEEDED.value, "made")
    became_ready = dataset.status.condition("Ready") is None and not dataset.spec.suspend
    patches: tuple[Patch, ...] = ()
    if (target := meta.annotations.get("tidemill.dev/patch")) and observed.get("TrainingRun", meta.namespace, target):
        other = observed.get("TrainingRun", meta.namespace, target)
        if other is not None and not other["spec"].get("suspend"):
            patches = (Patch(manifest=_suspended(meta.namespace, target), field_manager="tidemill-test"),)
    return Plan(
        children=() if dataset.spec.suspend else (Child(manifest=_service(name, dataset)),),
        patches=patches,
        deletes=(key,) if dataset.spec.suspend and existing is not None else (),
        status=finish(dataset.status, conditions, generation=generation),
        events=(Event(reason="Made", message=f"Service {name}"),) if became_ready else (),
    )


TINY: Mapping[str, Reconciler] = {"TrainingRun": run_to_job, "Dataset": dataset_to_service}


def _suspended(namespace: str, name: str) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRun",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"suspend": True},
    }


def _service(name: str, dataset: Dataset) -> Manifest:
    ports = [{"name": i.name.replace("_", "-"), "port": 8000 + n} for n, i in enumerate(dataset.spec.inputs)]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": dataset.metadata.namespace,
            "labels": {LABEL_DATASET: dataset.metadata.name},
        },
        "spec": {"clusterIP": "None", "ports": ports},
    }


def _job(name: str, run: TrainingRun) -> Manifest:
    labels = {LABEL_RUN: run.metadata.name, LABEL_TASK: "TrainModel", COMPONENT: "worker"}
    container: dict[str, Any] = {
        "name": "task",
        "image": "localhost/tidemill-trainer:dev",
        "args": ["/etc/tidemill/task"],
        "env": [{"name": f"TIDEMILL_SETTING_{n}", "value": f"value {n}"} for n in range(12)],
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "2Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "work", "mountPath": "/tidemill/work"}],
    }
    template = {
        "metadata": {"labels": labels, "annotations": {"tidemill.dev/task": "x" * 2000}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [{"name": "work", "emptyDir": {}}],
        },
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": run.metadata.namespace, "labels": labels},
        "spec": {"suspend": True, "backoffLimit": 3, "template": template},
    }


async def main(arguments: list[str]) -> None:
    """Run until a signal."""
    settings = load(arguments, os.environ)
    logs.configure(level=settings.log.level, form=settings.log.format)
    await App(settings, reconcilers=TINY, connection=load_connection(settings.kubeconfig or None)).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
