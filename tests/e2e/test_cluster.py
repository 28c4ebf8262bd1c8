"""The cluster of the demo and the tests does what any Kubernetes does: identity, admission, network, logs, exec."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.e2e.apiserver import environment, eventually, kubectl, run
from tests.e2e.cluster import Cluster
from tests.e2e.pods import Manifest, apply, finished, pod, ready

pytestmark = pytest.mark.e2e

ASK_THE_API = """
import json, ssl, urllib.error, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
token, space = open(folder + "token").read(), open(folder + "namespace").read()
trust = ssl.create_default_context(cafile=folder + "ca.crt")
def status(kind):
    url = f"https://kubernetes.default.svc/api/v1/namespaces/{space}/{kind}"
    request = urllib.request.Request(url, headers={"Authorization": "Bearer " + token})
    try:
        return urllib.request.urlopen(request, context=trust, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code
print(json.dumps({kind: status(kind) for kind in ("pods", "secrets")}))
"""
SERVE = """
import http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("asked for", self.path, flush=True)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello " + self.path.encode())
http.server.ThreadingHTTPServer(("", 8080), Hello).serve_forever()
"""
ASK_A_SERVICE = """
import time, urllib.error, urllib.request
for left in range(15, -1, -1):  # a node learns of a ready endpoint a little later, and refuses connections until then
    try:
        print(urllib.request.urlopen("http://hello.%s.svc.cluster.local/x", timeout=10).read().decode())
        break
    except urllib.error.URLError as error:
        if not left or not isinstance(error.reason, ConnectionRefusedError):
            raise
        time.sleep(1)
"""
PROBE = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1}


def server(image: str) -> list[Manifest]:
    """A pod that says hello, and its Service `hello`."""
    one = pod("hello", image, "python3", "-c", SERVE, labels={"app": "hello"})
    one["spec"]["containers"][0]["readinessProbe"] = PROBE
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "hello"},
        "spec": {"selector": {"app": "hello"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    return [one, service]


def test_a_service_accounts_token_reaches_the_api_with_its_rights_and_no_more(cluster: Cluster, namespace: str) -> None:
    kubectl("-n", namespace, "create", "serviceaccount", "reader")
    kubectl("-n", namespace, "create", "role", "reader", "--verb=list", "--resource=pods")
    kubectl("-n", namespace, "create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:reader")
    image = cluster.image("operator")
    apply(namespace, pod("reader", image, "python3", "-c", ASK_THE_API, serviceAccountName="reader"))
    assert json.loads(finished(namespace, "reader")) == {"pods": 200, "secrets": 403}


def test_pod_security_refuses_a_pod_that_is_not_restricted(cluster: Cluster, namespace: str) -> None:
    refusal = run("kubectl", "-n", namespace, "run", "loose", "--image", cluster.image("operator"))
    assert refusal.returncode != 0
    assert 'violates PodSecurity "restricted' in refusal.stderr
    assert "allowPrivilegeEscalation" in refusal.stderr


def test_dns_and_a_service_work_from_a_pod(cluster: Cluster, namespace: str) -> None:
    image = cluster.image("operator")
    apply(namespace, *server(image))
    ready(namespace, "hello")
    apply(namespace, pod("client", image, "python3", "-c", ASK_A_SERVICE % namespace))
    assert finished(namespace, "client") == "hello /x\n"


def test_logs_exec_and_port_forward_reach_a_pod(cluster: Cluster, namespace: str) -> None:
    apply(namespace, *server(cluster.image("operator")))
    ready(namespace, "hello")
    inside = kubectl(
        "-n", namespace, "exec", "hello", "--", "python3", "-c", "import os; print(os.getuid(), os.getpid() > 1)"
    )
    assert inside == "65532 True\n"
    with forwarded(namespace, "svc/hello", 80) as url, urllib.request.urlopen(url + "/forwarded", timeout=10) as answer:
        assert answer.read() == b"hello /forwarded"
    eventually(
        "the request in the pod's log",
        lambda: "asked for /forwarded" in kubectl("-n", namespace, "logs", "hello"),
        seconds=10,
    )


def test_the_root_file_system_is_read_only_and_tmp_is_not(cluster: Cluster, namespace: str) -> None:
    write = "import errno\ntry: open('/etc/x', 'w')\nexcept OSError as e: print(errno.errorcode[e.errno])\nopen('/tmp/x', 'w')"
    apply(namespace, pod("writer", cluster.image("operator"), "python3", "-c", write))
    assert finished(namespace, "writer") == "EROFS\n"


def test_a_job_fails_at_once_for_an_exit_code_that_its_policy_names(cluster: Cluster, namespace: str) -> None:
    template = pod("unused", cluster.image("operator"), "python3", "-c", "raise SystemExit(64)")
    rule = {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [64]}}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "wrong"},
        "spec": {"backoffLimit": 5, "podFailurePolicy": {"rules": [rule]}, "template": {"spec": template["spec"]}},
    }
    apply(namespace, job)
    kubectl("-n", namespace, "wait", "--for=condition=Failed", "--timeout=60s", "job/wrong")
    status = json.loads(kubectl("-n", namespace, "get", "job", "wrong", "-o", "json"))["status"]
    assert [c["reason"] for c in status["conditions"] if c["type"] == "Failed"] == ["PodFailurePolicy"]
    assert status["failed"] == 1


def test_the_audit_log_names_each_write_and_who_made_it(cluster: Cluster, namespace: str) -> None:
    begin = cluster.audit_position()
    kubectl("-n", namespace, "create", "configmap", "written", "--from-literal=a=b")

    def writes() -> list[str]:
        return [
            event["user"]["username"]
            for event in cluster.audited(lambda e: e["verb"] == "create", since=begin)
            if event["objectRef"].get("namespace") == namespace and event["objectRef"].get("name") == "written"
        ]

    eventually("the write in the audit log", writes, seconds=10)
    assert writes() == ["admin"]


@contextmanager
def forwarded(namespace: str, target: str, port: int) -> Iterator[str]:
    """The URL of a port of a pod or Service, for as long as the context lasts."""
    process = subprocess.Popen(
        ["kubectl", "-n", namespace, "port-forward", target, f":{port}"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:\d+", line)
        assert found, f"kubectl port-forward did not start: {line}"
        yield f"http://{found[0]}"
    finally:
        process.terminate()
        process.wait(timeout=10)
