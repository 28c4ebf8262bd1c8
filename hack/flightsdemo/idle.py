"""Whether the operator leaves the API server alone when nothing happens."""

from __future__ import annotations

import time
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from flightsdemo import kubectl
from flightsdemo.chaos import OPERATOR
from flightsdemo.install import SYSTEM
from flightsdemo.terminal import Step

PAUSE = 10.0
SETTLING = 300.0
"""Seconds after which it is measured in any case."""
READS = {"get", "list", "watch"}


def _writes() -> Counter[str]:
    """What the operator's pods have written so far, by process, verb and kind; its own Lease aside."""
    counted: Counter[str] = Counter()
    for pod in kubectl.listed("pod", SYSTEM, OPERATOR):
        name = pod["metadata"]["name"]
        port = next(p["containerPort"] for p in pod["spec"]["containers"][0]["ports"] if p["name"] == "http")
        text = kubectl.run("get", "--raw", f"/api/v1/namespaces/{SYSTEM}/pods/{name}:{port}/proxy/metrics")
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = sample.labels
                if sample.name != "tidemill_api_requests_total" or labels["verb"] in READS or labels["kind"] == "Lease":
                    continue
                counted[f"{name}: {labels['verb']} {labels['kind']}"] += int(sample.value)
    return counted


def _settled(step: Step) -> Counter[str]:
    """What was written up to the first pause of ten seconds: the last promotion is still being carried out."""
    end, writes = time.monotonic() + SETTLING, _writes()
    while time.monotonic() < end:
        step.update("coming to rest")
        time.sleep(PAUSE)
        before, writes = writes, _writes()
        if writes == before:
            break
    return writes


def problems(seconds: float, *, step: Step) -> list[str]:
    """What the operator wrote in so many seconds, as sentences; empty when it wrote nothing."""
    before, end = _settled(step), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        step.update(f"{left:.0f} s to go")
        time.sleep(min(left, 10))
    wrote = _writes() - before
    step.update(f"{wrote.total()} writes in {seconds:.0f} s")
    return [f"idle, and yet {what}: {count} times in {seconds:.0f} s" for what, count in sorted(wrote.items())]
