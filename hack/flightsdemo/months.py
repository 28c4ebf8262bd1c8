"""Month after month: replay, let the policy act, retrain the blind comparison, note what happened."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flightsdemo import data, kubectl, latency, manifests
from flightsdemo.kubectl import NAMESPACE, DemoError
from flightsdemo.manifests import DEPLOYMENT, POLICY, STATIC
from flightsdemo.terminal import Step, say, step


@dataclass
class Month:
    """What one month showed. Errors are mean absolute errors in minutes."""

    month: int
    requests: int
    failed: int
    served_by: dict[str, int]
    worst_feature: str | None
    psi: float | None
    loop: float
    static: float
    blind: float
    latency_ms: dict[str, float]
    attempt: dict[str, Any] | None = None
    """The newest retraining of the month."""
    steps: dict[str, Any] | None = None
    """Its steps' seconds."""
    retrainings: int = 0
    blind_retrained: bool = False
    """Whether the blind comparison was trained after this month."""
    production: int | None = None


@dataclass
class Options:
    """How the months are replayed."""

    months: list[int]
    rows: int
    seconds: float
    blind: bool
    examples: Path
    seed: int = 1
    template: dict[str, Any] = field(default_factory=dict)


def client(month: int, options: Options, *flags: str) -> subprocess.Popen[str]:
    """The client's program in its pod, with the Dataset's SQL."""
    program = ["kubectl", "exec", "-i", "-n", NAMESPACE, manifests.CLIENT, "--", "python3", "-m", "flights_client"]
    process = subprocess.Popen(
        [*program, str(month), "--rows", str(options.rows), "--seed", str(options.seed), *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    process.stdin.write(data.dataset_sql(options.examples))
    process.stdin.close()
    return process


def first_answer(process: subprocess.Popen[str]) -> datetime:
    """When the client got its first answer. Raises DemoError when it never did."""
    assert process.stdout
    assert process.stderr
    said = process.stdout.read()
    if process.wait():
        raise DemoError(f"the client got no first answer: {process.stderr.read().strip()}")
    return datetime.fromtimestamp(json.loads(said)["answeredAt"], tz=UTC)


def replay(
    month: int, options: Options, *, shadows: list[str], step: Step
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One month by the client's pod; its result, and the policy's monitors as they were seen meanwhile."""
    compared = [word for shadow in shadows for word in ("--shadow", shadow)]
    process = client(month, options, "--seconds", str(options.seconds), *compared)
    assert process.stdout
    assert process.stderr
    result: dict[str, Any] | None = None
    seen: list[dict[str, Any]] = []
    for line in process.stdout:
        message = json.loads(line)
        result = message.get("result", result)
        if "sent" in message:
            step.update(f"{message['sent']} of {options.rows} requests, {message['errors']} errors")
            seen += kubectl.get("tmdrift", POLICY).get("status", {}).get("monitors", [])
    if process.wait() or result is None:
        raise DemoError(f"the client failed in month {month}: {process.stderr.read().strip()}")
    return result, seen


def settle(*, before: int, window: float, step: Step) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Wait until the policy has acted on the month: an attempt that ended, or no drift for a whole window.

    `before` is the number of attempts before the month. Returns the newest attempt of the month and the monitors seen.
    """
    begin = time.monotonic()
    seen: list[dict[str, Any]] = []

    def check() -> bool | None:
        status = kubectl.get("tmdrift", POLICY).get("status", {})
        seen.extend(status.get("monitors", []))
        if current := status.get("current"):
            step.update(f"retraining {current['number']}: {current['phase']} {current.get('message', '')}".strip())
            return None
        past = time.monotonic() - begin
        if past < window:
            step.update(f"watching, {past:.0f} of {window:.0f} s")
            return None
        return True

    kubectl.until(check, f"DriftPolicy {NAMESPACE}/{POLICY} to settle", timeout=600, pause=1)
    status = kubectl.get("tmdrift", POLICY)["status"]
    newest = next(iter(status.get("attempts", [])), None)
    return (newest if newest and newest["number"] > before else None), seen


def production() -> int:
    """The version that the Deployment serves, once it serves the one in production."""

    def check() -> int | None:
        obj = kubectl.get("tmdep", DEPLOYMENT)
        status = obj["status"]
        if kubectl.condition(obj, "Ready").get("status") != "True":
            return None
        version: int = status["serving"]["version"]
        return version if status["modelVersion"]["version"] == version else None

    return kubectl.until(check, f"tmdep {NAMESPACE}/{DEPLOYMENT} to serve the version in production", timeout=120)


def retrain_blindly(month: int, options: Options, *, step: Step) -> None:
    """Train on the last three months and put the model into production without a look at it."""
    months = range(month - 2, month + 1)
    kubectl.apply(*manifests.blind(options.template, name=f"blind-{month:02d}", months=months))
    kubectl.wait_ready("tmrun", f"blind-{month:02d}", step=step)
    if not kubectl.get("tmdep", manifests.BLIND):
        kubectl.apply(manifests.blind_deployment(options.template["apiVersion"]))
    version = kubectl.get("tmrun", f"blind-{month:02d}")["status"]["modelVersion"]["version"]

    def serves() -> bool | None:
        status = kubectl.get("tmdep", manifests.BLIND).get("status", {})
        return True if status.get("serving", {}).get("version") == version else None

    kubectl.until(serves, f"tmdep {NAMESPACE}/{manifests.BLIND} to serve version {version}", timeout=180)


def turn(options: Options, *, window: float) -> list[Month]:
    """All months in order."""
    rows: list[Month] = []
    for month in options.months:
        before = kubectl.get("tmdrift", POLICY).get("status", {}).get("attemptCount", 0)
        has_blind = options.blind and bool(kubectl.get("tmdep", manifests.BLIND))
        shadows = [STATIC, *([manifests.BLIND] if has_blind else [])]
        with step(f"2013-{month:02d} requests") as current:
            result, seen = replay(month, options, shadows=shadows, step=current)
        with step(f"2013-{month:02d} policy") as current:
            attempt, later = settle(before=before, window=window, step=current)
        scored = [m for m in (*seen, *later) if m.get("score") is not None]
        worst = max(scored, key=lambda m: m["score"], default={})
        mae = result["mae"]
        count = kubectl.get("tmdrift", POLICY).get("status", {}).get("attemptCount", 0)
        row = Month(
            month=month,
            requests=result["requests"],
            failed=result["errors"],
            served_by=result["versions"],
            worst_feature=worst.get("worstFeature"),
            psi=worst.get("score"),
            loop=mae[DEPLOYMENT],
            static=mae[STATIC],
            blind=mae.get(manifests.BLIND, mae[STATIC]),
            latency_ms=result["latencyMs"],
            attempt=attempt,
            steps=latency.measure(attempt) if attempt else None,
            retrainings=count - before,
            production=production(),
        )
        rows.append(row)
        said = f"2013-{month:02d}: error {row.loop:.2f} min, never retrained {row.static:.2f}"
        say(said + (f"; retraining {attempt['number']}: {attempt['phase']}" if attempt else "; no retraining"))
        if options.blind and month != options.months[-1]:
            with step(f"2013-{month:02d} blind retraining, for comparison") as current:
                retrain_blindly(month, options, step=current)
            row.blind_retrained = True
    return rows
