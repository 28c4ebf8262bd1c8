"""Manifests that the demo makes itself: the client's pod, and the blind monthly retraining it compares with."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from flightsdemo.kubectl import NAMESPACE

POLICY = "flights"
DEPLOYMENT = "flights"
STATIC = "flights-static"
CLIENT = "flights-client"
BLIND = "flights-blind"


def client(image: str, *, store_endpoint: str, secret: str) -> dict[str, Any]:
    """A pod from which requests go through the cluster's network."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": CLIENT, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/name": CLIENT}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            "containers": [
                {
                    "name": "client",
                    "image": image,
                    "env": [{"name": "TIDEMILL_STORE_ENDPOINT", "value": store_endpoint}],
                    "envFrom": [{"secretRef": {"name": secret}}],
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def blind(template: dict[str, Any], *, name: str, months: Sequence[int]) -> list[dict[str, Any]]:
    """A Dataset of these months' labelled rows and a TrainingRun after the template that goes to production unseen."""
    dataset = {
        "apiVersion": template["apiVersion"],
        "kind": "Dataset",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "inputs": [
                {"name": f"m{month:02d}", "s3": {"uri": f"s3://raw/labelled/2013-{month:02d}.parquet"}}
                for month in months
            ],
            "split": {"random": {"validation": 0.1, "test": 0.05, "seed": 1}},
            "profile": {"html": False},
        },
    }
    run = {
        "apiVersion": template["apiVersion"],
        "kind": "TrainingRun",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            **copy.deepcopy(template["spec"]),
            "dataset": {"name": name},
            "model": {"name": BLIND, "stage": "Production"},
            "gates": [],
        },
    }
    return [dataset, run]


def blind_deployment(api_version: str) -> dict[str, Any]:
    """Serves whatever the blind retraining put into production."""
    return {
        "apiVersion": api_version,
        "kind": "Deployment",
        "metadata": {"name": BLIND, "namespace": NAMESPACE},
        "spec": {
            "mode": "Online",
            "model": {"name": BLIND, "stage": "Production"},
            "online": {"pool": "cpu", "samplingPercent": 0},
        },
    }
