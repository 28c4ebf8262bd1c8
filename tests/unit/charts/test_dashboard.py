"""The dashboard: every query is PromQL, and every metric in it and in the alerts is exported by somebody."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from prometheus_client import CollectorRegistry

from tidemill.contract import metrics as contract
from tidemill.kube.config import Connection
from tidemill.runtime import evaluations, gauges
from tidemill.runtime.app import App
from tidemill.runtime.settings import Settings
from tidemill_agent import selfmetrics
from tidemill_worker.progress import Tracker

from .conftest import ROOT, Render
from .test_rules import CRD, promtool

NOWHERE = Connection(server="http://127.0.0.1:1", tls=None, token=None, namespace="default")
TARGET = {"namespace", "job", "pod", "instance", "le"}
TRITONS = {
    name: {"model", "version"}
    for name in ("nv_inference_request_success", "nv_inference_request_failure", "nv_inference_request_duration_us")
}
_GRAFANAS = {"$__rate_interval": "5m", "$job": "tidemill-metrics", "$namespace": ".*"}
_METRIC = re.compile(r"\b((?:tidemill|process|nv)_\w+|up)\b(?:\{([^}]*)\})?")


@pytest.fixture(scope="module")
def dashboard(render: Render) -> dict[str, Any]:
    """What the chart's ConfigMap holds."""
    (found,) = [m for m in render() if m["metadata"]["name"] == "tidemill-dashboard"]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    loaded: dict[str, Any] = json.loads(found["data"]["tidemill.json"])
    return loaded


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """The labels of every metric by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gauges, "memory_limit", lambda: 1)  # there is none on every machine
        app = App(Settings(), reconcilers={}, connection=NOWHERE)
    # The agent's parts need a server; the names need none of them.
    numbers = SimpleNamespace(
        held={}, loads=0, load_failures=0, restarts=0, writes=0, bytes=0, stored_rows=0, given_up_rows=0
    )
    agent = selfmetrics.registry(*cast("Any", (numbers,) * 4))
    found: dict[str, set[str]] = {"up": set(), **TRITONS}
    for registry in (app.metrics.registry, agent, Tracker().registry):
        found.update(_names(registry))
    drift = {value for name, value in vars(contract).items() if name.startswith("LABEL_")} | {"policy", "metric"}
    judged = {*evaluations.LABELS, "metric", "outcome"}
    names = [v for v in vars(contract).values() if isinstance(v, str) and v.startswith("tidemill_")]
    return found | {name: judged if name.startswith("tidemill_evaluation_") else drift for name in names}


def _names(registry: CollectorRegistry) -> Iterator[tuple[str, set[str]]]:
    """The names of series, and their labels, also of those that have none yet."""
    for collector in registry._collector_to_names:
        for family in collector.collect():
            labels = set(getattr(collector, "_labelnames", None) or getattr(family, "_labelnames", ()))
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
            for suffix in suffixes:
                yield family.name + suffix, labels


def queries(dashboard: dict[str, Any]) -> dict[str, str]:
    """Every expression by its panel's title, as Grafana would send it."""
    found = {}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"]
            for variable, value in _GRAFANAS.items():
                text = text.replace(variable, value)
            found[f"{panel['title']} {target['refId']} ({panel['id']})"] = text
    return found


@pytest.fixture(scope="module")
def expressions(dashboard: dict[str, Any], render: Render) -> dict[str, str]:
    """Those of the dashboard and of the alerts."""
    (rule,) = [m for m in render(CRD) if m["kind"] == "PrometheusRule"]
    alerts = {r["alert"]: r["expr"] for group in rule["spec"]["groups"] for r in group["rules"]}
    return queries(dashboard) | alerts


def test_every_query_is_promql(dashboard: dict[str, Any], tmp_path: Path) -> None:
    found = queries(dashboard)
    assert len(found) > 40
    assert not [text for text in found.values() if "$" in text], "a variable that the test does not know"
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(found.values())]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", "--lint-fatal", tmp_path / "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_is_exported_with_the_labels_that_are_asked_for(
    expressions: dict[str, str], exported: dict[str, set[str]]
) -> None:
    for where, text in expressions.items():
        metrics = _METRIC.findall(text)
        assert metrics, where
        labels = set(TARGET)
        for name, matchers in metrics:
            assert name in exported, f"{where}: nobody exports {name}"
            asked = set(re.findall(r"(\w+)(?:=|!)", matchers))
            assert asked <= exported[name] | TARGET, f"{where}: {name} has no {asked - exported[name] - TARGET}"
            labels |= exported[name]
        for group in re.findall(r"\bby \(([^)]*)\)", text):
            assert set(re.split(r",\s*", group)) <= labels, f"{where}: grouped by what is not there: {group}"


def test_the_operators_own_metrics_are_all_shown(expressions: dict[str, str], exported: dict[str, set[str]]) -> None:
    shown = {name.removesuffix("_bucket") for text in expressions.values() for name, _ in _METRIC.findall(text)}
    own = {
        name
        for name in exported
        if name.startswith("tidemill_")
        and not re.search("_(bucket|sum|count)$|_(agent|task|training|feature|baseline)_", name)
    }
    assert own - shown == {"tidemill_shard_info"}, "add a panel, or say here why there is none"


def test_panels_do_not_overlap_and_say_what_they_show(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["type"] == "row" or panel["description"].endswith("."), panel["title"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_guide_tells_of_every_row(dashboard: dict[str, Any]) -> None:
    guide = (ROOT / "docs/operations.md").read_text()
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            assert f"**{panel['title']}**" in guide


def test_it_can_be_left_out_and_labelled(render: Render) -> None:
    assert "tidemill-dashboard" not in {
        m["metadata"]["name"] for m in render("--set", "monitoring.dashboards.enabled=false")
    }
    labelled = render("--set", "monitoring.dashboards.labels.team=ml")
    (found,) = [m for m in labelled if m["metadata"]["name"] == "tidemill-dashboard"]
    assert found["metadata"]["labels"].items() >= {"team": "ml", "grafana_dashboard": "1"}.items()
