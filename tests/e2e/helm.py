"""helm as tests use it, and monitoring CRDs for rendering."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from tests.e2e.apiserver import Api, kubectl, run

MONITORING = tuple(f"monitoring.coreos.com/v1/{kind}" for kind in ("ServiceMonitor", "PodMonitor", "PrometheusRule"))


def helm(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """A helm command; its status is the caller's to judge."""
    return run("helm", *arguments, stdin=stdin, timeout=360)


def must(*arguments: str, stdin: str | None = None) -> str:
    """The output of a helm command that must succeed."""
    done = helm(*arguments, stdin=stdin)
    assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr}{done.stdout}"
    return done.stdout


def render(chart: str, *arguments: str, namespace: str = "tidemill-system") -> list[dict[str, Any]]:
    """The manifests of a chart, for a release that has the chart's name."""
    text = must("template", chart, f"charts/{chart}", "--namespace", namespace, *arguments)
    return [m for m in yaml.safe_load_all(text) if m]


def kinds(manifests: list[dict[str, Any]]) -> set[str]:
    """The kinds among manifests."""
    return {m["kind"] for m in manifests}


def one(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The one manifest of a kind and name."""
    found = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} {kind} {name} among {sorted(kinds(manifests))}"
    return found[0]


@contextmanager
def installed(release: str, chart: str, namespace: str, *arguments: str) -> Iterator[None]:
    """A release, for as long as the context lasts."""
    must("upgrade", "--install", release, f"charts/{chart}", "-n", namespace, *arguments)
    try:
        yield
    finally:
        must("uninstall", release, "-n", namespace, "--wait", "--timeout", "60s")


def may(api: Api, account: str, verb: str, resource: str, namespace: str = "", *, name: str = "") -> bool:
    """Whether a ServiceAccount (namespace:name) may do something, as `kubectl auth can-i --as` asks.

    `resource` is plural[.group][/subresource]; no namespace means all of them.
    """
    plural, _, subresource = resource.partition("/")
    plural, _, group = plural.partition(".")
    attributes = {"verb": verb, "resource": plural, "subresource": subresource, "group": group}
    spec = {
        "user": f"system:serviceaccount:{account}",
        "groups": ["system:serviceaccounts", f"system:serviceaccounts:{account.split(':')[0]}", "system:authenticated"],
        "resourceAttributes": {**attributes, "namespace": namespace, "name": name},
    }
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    answer = api.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer.status == 201, answer.message
    return bool(answer.body["status"]["allowed"])


def wrong_permissions(api: Api, account: str, namespace: str, table: list[tuple[str, str, bool]]) -> list[str]:
    """Where an account's permissions in a namespace differ from the table."""
    return [
        f"{verb} {resource} should be {allowed}"
        for verb, resource, allowed in table
        if may(api, account, verb, resource, namespace) is not allowed
    ]


def dry_run(manifests: list[dict[str, Any]]) -> str:
    """What the API server says to manifests that are not to be kept."""
    text = "---\n".join(yaml.safe_dump(m) for m in manifests)
    return kubectl("apply", "--dry-run=server", "-f", "-", stdin=text)
