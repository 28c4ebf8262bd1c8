"""Tidemill as installed for the tests: its charts with a store and Prometheus, one watched namespace, an S3 client."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from tests.e2e.apiserver import eventually, kubectl, run
from tests.e2e.cluster import Cluster
from tests.e2e.helm import helm, must

SYSTEM, SPACE = "tidemill-e2e-system", "tidemill-e2e"
BUCKET, RAW, SECRET = "tidemill", "raw", "tidemill-store"
API = "tidemill.dev/v1alpha1"
KINDS = "tmdrift,tmdep,tmpool,tmrun,tmds,tmmv"
OPERATOR = "app.kubernetes.io/component=operator"
IMAGES = ("operator", "worker", "trainer", "language", "serving", "store", "prometheus")

Object = dict[str, Any]


def resource(kind: str, name: str, **spec: Any) -> Object:
    """A manifest of one of Tidemill's kinds."""
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": SPACE}, "spec": spec}


def source(key: str, **more: Any) -> list[Object]:
    """The inputs of a Dataset that reads one object of the bucket for raw data."""
    return [{"name": "rows", "s3": {"uri": f"s3://{RAW}/{key}", **more}}]


def apply(*manifests: Mapping[str, Any]) -> None:
    """Server-side apply."""
    document = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(document))


def get(kind: str, name: str) -> Object:
    """An object of the tests' namespace, or {}."""
    text = kubectl("get", kind, name, "-n", SPACE, "-o", "json", "--ignore-not-found")
    return json.loads(text) if text.strip() else {}


def listed(kind: str, selector: str = "") -> list[Object]:
    """The objects of a kind in the tests' namespace."""
    return list(json.loads(kubectl("get", kind, "-n", SPACE, "-l", selector, "-o", "json"))["items"])


def condition(obj: Mapping[str, Any], type_: str) -> Object:
    """A condition that speaks of the object's newest generation, or {}."""
    for found in obj.get("status", {}).get("conditions", ()):
        if found["type"] == type_ and found.get("observedGeneration", 0) >= obj["metadata"]["generation"]:
            return dict(found)
    return {}


def awaited(kind: str, name: str, check: Callable[[Object], Any], what: str, *, seconds: float = 600) -> Object:
    """The object once `check` holds of it; fails with its conditions."""
    seen: Object = {}

    def look() -> bool:
        seen.clear()
        seen.update(get(kind, name))
        return bool(seen and check(seen))

    try:
        eventually(f"{kind} {name}: {what}", look, seconds=seconds)
    except AssertionError as error:
        pods = kubectl("get", "pods", "-n", SPACE, "-o", "wide")
        raise AssertionError(f"{error}\n{json.dumps(seen.get('status'), indent=1)}\n{pods}") from error
    return seen


def ready(kind: str, name: str, *, seconds: float = 600) -> Object:
    """The object once it is Ready."""
    return awaited(kind, name, lambda obj: condition(obj, "Ready").get("status") == "True", "Ready", seconds=seconds)


@contextmanager
def forwarded(target: str, *ports: int, namespace: str = SPACE) -> Iterator[list[str]]:
    """Loopback addresses that lead to ports of a pod or Service."""
    command = ["kubectl", "port-forward", "-n", namespace, target, *(f":{port}" for port in ports)]
    command += ["--address", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        addresses = []
        for _ in ports:
            line = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:\d+", line)
            assert found, f"kubectl port-forward to {target}: {line}"
            addresses.append(found[0])
        yield addresses
    finally:
        process.terminate()
        process.wait(timeout=10)


@dataclass(frozen=True, slots=True)
class Stand:
    """An installed Tidemill."""

    cluster: Cluster

    @contextmanager
    def s3(self) -> Iterator[Any]:
        """An S3 client with the namespace's store credentials."""
        data = get("secret", SECRET)["data"]
        key, password = (base64.b64decode(data[k]).decode() for k in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
        with forwarded("service/store", 8333, namespace=SYSTEM) as (address,):
            yield boto3.client(
                "s3",
                endpoint_url=f"http://{address}",
                region_name="us-east-1",
                aws_access_key_id=key,
                aws_secret_access_key=password,
            )

    def operator_writes(self, since: int) -> list[str]:
        """What the operator wrote since a place in the audit log. Renewals of its Lease, every 2 s, do not count."""
        account = f"system:serviceaccount:{SYSTEM}:"

        def written(event: Object) -> bool:
            return (
                event["user"]["username"].startswith(account)
                and event["verb"] in ("create", "update", "patch", "delete", "deletecollection")
                and event.get("objectRef", {}).get("resource") != "leases"
            )

        return [f"{e['verb']} {e['requestURI']}" for e in self.cluster.audited(written, since=since)]

    def kill_operator(self) -> None:
        """Kill the operator's process by SIGKILL, then its pod: a container restarted in place waits longer each time.

        On a cluster whose processes cannot be reached the pod's deletion without grace has to do.
        """
        if self.cluster.is_ours:
            for container in eventually("the operator to run", _operators):
                self.cluster.sigkill(container)
        kubectl("delete", "pod", "-n", SYSTEM, "-l", OPERATOR, "--grace-period=0", "--force")

    def upgrade(self, *arguments: str) -> None:
        """helm upgrade of Tidemill with the values that it has, and some more."""
        wait = ("--reuse-values", "--wait", "--timeout", "5m")
        done = helm("upgrade", "tidemill-e2e", "charts/tidemill", "-n", SYSTEM, *wait, *arguments)
        assert done.returncode == 0, f"helm upgrade {arguments}: {done.stderr}\n{state_of_system()}"


def state_of_system() -> str:
    """What the operator's namespace looks like, for the message of a failed test."""
    asked = (
        ("get", "pods,replicasets", "-o", "wide"),
        ("get", "events", "--sort-by=.lastTimestamp"),
        ("logs", "-l", OPERATOR, "--tail=40", "--prefix"),
    )
    return "\n".join(run("kubectl", *words, "-n", SYSTEM).stdout for words in asked)


def _operators() -> list[str]:
    """The ids of the operator's running containers."""
    pods = json.loads(kubectl("get", "pods", "-n", SYSTEM, "-l", OPERATOR, "-o", "json"))["items"]
    states = [state for pod in pods for state in pod["status"].get("containerStatuses", ())]
    return [state["containerID"] for state in states if "running" in state["state"]]


def put_table(s3: Any, key: str, table: pa.Table, *, bucket: str = RAW) -> None:
    """Store a table as parquet."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    s3.put_object(Bucket=bucket, Key=key, Body=buffer.getvalue())


def content(s3: Any, uri: str) -> bytes:
    """The bytes of an object, by its URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def install(cluster: Cluster) -> Stand:
    """The CRDs, a store, Prometheus and Tidemill, which watches one namespace under Pod Security `restricted`."""
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "crds/")
    for name in (SYSTEM, SPACE):
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    images = cluster.images(*IMAGES)
    demo = {
        "images": {name: images[name] for name in ("operator", "store", "prometheus")},
        "namespaces": [SPACE],
        "store": {"bucket": BUCKET},
    }
    tidemill = {
        "images": {name: images[name] for name in ("operator", "worker", "trainer", "language", "serving")},
        "watchNamespaces": [SPACE],
        "store": {"bucket": BUCKET, "endpoint": f"http://store.{SYSTEM}.svc:8333", "secretName": SECRET},
        "prometheus": {"url": f"http://prometheus.{SYSTEM}.svc:9090"},
        "progressSeconds": 3,
    }
    for release, chart, values in (
        ("tidemill-e2e-demo", "tidemill-demo", demo),
        ("tidemill-e2e", "tidemill", tidemill),
    ):
        arguments = ("-n", SYSTEM, "-f", "-", "--wait", "--timeout", "3m")
        must("upgrade", "--install", release, f"charts/{chart}", *arguments, stdin=yaml.safe_dump(values))
    stand = Stand(cluster)
    with stand.s3() as s3:
        there = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
        for bucket in {BUCKET, RAW} - there:
            s3.create_bucket(Bucket=bucket)
    return stand


def is_installed() -> bool:
    """Whether the tests' Tidemill is there already: then it stays."""
    return run("kubectl", "get", "namespace", SYSTEM).returncode == 0


def uninstall() -> None:
    """Remove the tests' Tidemill; the CRDs stay, other tests use them."""
    for release in ("tidemill-e2e", "tidemill-e2e-demo"):
        must("uninstall", release, "-n", SYSTEM, "--wait", "--timeout", "60s")
    kubectl("delete", "namespace", SYSTEM, SPACE, "--wait=false")


def clear() -> None:
    """Remove every object of Tidemill's kinds in the tests' namespace, and wait until they are gone."""
    kubectl("delete", KINDS, "--all", "-n", SPACE, "--wait=true", "--timeout=90s")
    kubectl("delete", "jobs", "--all", "-n", SPACE, "--wait=true", "--timeout=90s")
