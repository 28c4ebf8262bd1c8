"""One pass of a reconciler, written down: `<kind>/<case>/{in,observed,plan}.yaml`.

- `in.yaml`: the resource. Namespace, uid, generation, resourceVersion and creation time are filled in when they are absent
  (uid is `<kind>-<name>` in lower case).
- `observed.yaml`: `now`, and what the caches hold: `objects` (filled in alike; `metadata.ownedBy: <Kind>/<name>` stands
  for a controller reference; the resource itself is always there), `progress` by pod, `drift` by policy, `absent` by kind.
- `plan.yaml`: what the reconciler made of it. `pytest tests/golden --update-golden` writes it.

The objects pass through the real cache, so that a reconciler can see only what the operator keeps of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidemill.api.durations import parse_time
from tidemill.api.v1alpha1 import KINDS
from tidemill.build.settings import BuildSettings, Images, Store
from tidemill.contract.results import Progress
from tidemill.reconcile.observed import Context, DriftReading
from tidemill.reconcile.plan import Plan
from tidemill.runtime.indices import Indices

HERE = Path(__file__).parent
NAMESPACE = "ml"
CREATED = "2026-01-01T00:00:00Z"
CASES = sorted(path.parent for path in HERE.glob("*/*/in.yaml"))
SETTINGS = BuildSettings(
    images=Images(
        worker="tidemill/worker:1",
        trainer="tidemill/trainer:1",
        language="tidemill/language:1",
        serving="tidemill/serving:1",
        triton="triton:1",
        ray="tidemill/ray:1",
    ),
    store=Store(bucket="tidemill", endpoint="http://store:8333"),
    worker_service_account="tidemill-worker",
)


class Dumper(yaml.SafeDumper):
    """Long texts as blocks, no aliases: the diff of a golden file is read by people."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


class Measured:
    """What a case knows besides objects."""

    def __init__(self, observed: Mapping[str, Any]) -> None:
        self._progress = observed.get("progress") or {}
        self._drift = observed.get("drift") or {}
        self._absent = observed.get("absent") or {}

    def absent(self, kind: str) -> str | None:
        why: str | None = self._absent.get(kind)
        return why

    def progress(self, _namespace: str, pod: str) -> Progress | None:
        found = self._progress.get(pod)
        return Progress.model_validate(found) if found else None

    def drift(self, _namespace: str, policy: str) -> DriftReading | None:
        found = self._drift.get(policy)
        if found is None:
            return None
        return DriftReading(
            evaluated_at=parse_time(found["evaluatedAt"]),
            samples=found.get("samples", 0.0),
            scores={(s["metric"], s["feature"]): tuple(map(float, s["values"])) for s in found.get("scores", ())},
            error=found.get("error"),
        )


def filled(obj: dict[str, Any]) -> dict[str, Any]:
    """The object with the metadata that every object has."""
    meta = {
        "namespace": NAMESPACE,
        "uid": f"{obj['kind']}-{obj['metadata']['name']}".lower(),
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": CREATED,
        **obj["metadata"],
    }
    if owner := meta.pop("ownedBy", None):
        kind, name = owner.split("/")
        reference = {"kind": kind, "name": name, "uid": f"{kind}-{name}".lower(), "controller": True}
        meta["ownerReferences"] = [reference]
    return {**obj, "metadata": meta}


def run(resource: dict[str, Any], observed: Mapping[str, Any]) -> Plan:
    """One pass."""
    indices = Indices()
    indices.measurements = indices.served = Measured(observed)
    for obj in (resource, *(filled(o) for o in observed.get("objects") or ())):
        indices.upsert(obj)
    kind = resource["kind"]
    module = importlib.import_module(f"tidemill.reconcile.{kind.lower()}")
    reconcile = getattr(module, f"reconcile_{kind.lower()}")
    now = parse_time(str(observed.get("now") or CREATED))
    seen = indices.get(kind, resource["metadata"]["namespace"], resource["metadata"]["name"])
    context = Context(now=now, settings=SETTINGS)
    plan: Plan = reconcile(KINDS[kind].model_validate(seen), indices, context)
    return plan


def written(plan: Plan) -> dict[str, Any]:
    """The plan as it stands in the file; what is empty is left out."""
    parts: dict[str, Any] = {
        "children": [{"mode": c.mode, "owned": c.owned, "manifest": c.manifest} for c in plan.children],
        "patches": [{"fieldManager": p.field_manager, "manifest": p.manifest} for p in plan.patches],
        "deletes": [str(key) for key in plan.deletes],
        "status": plan.status,
        "events": [{"type": e.type, "reason": str(e.reason), "message": e.message} for e in plan.events],
        "requeueAfter": plan.requeue_after,
    }
    return {key: value for key, value in parts.items() if value}


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.parent.name}/{c.name}")
def test_plan_is_as_written(case: Path, request: pytest.FixtureRequest) -> None:
    resource = filled(yaml.safe_load((case / "in.yaml").read_text()))
    observed = yaml.safe_load((case / "observed.yaml").read_text()) or {}
    plan = run(resource, observed)
    text = yaml.dump(plain(written(plan)), Dumper=Dumper, sort_keys=False, width=118, allow_unicode=True)
    target = case / "plan.yaml"
    if request.config.getoption("--update-golden"):
        target.write_text(text)
    assert target.exists(), f"{target} is missing: run pytest tests/golden --update-golden and look at what it wrote"
    assert yaml.safe_load(text) == yaml.safe_load(target.read_text())


def plain(value: Any) -> Any:
    """Only YAML's own types: no enumerations, no tuples."""
    match value:
        case dict():
            return {str(k): plain(v) for k, v in value.items()}
        case list() | tuple():
            return [plain(v) for v in value]
        case str():
            return str.__str__(value)
        case _:
            return value


def test_there_are_cases_of_every_kind() -> None:
    kinds = {case.parent.name for case in CASES}
    assert kinds >= {"dataset", "trainingrun", "modelversion"}
