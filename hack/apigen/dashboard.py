"""charts/tidemill/files/dashboard.json: a Grafana dashboard of the panels in dashboard.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

PANELS = Path(__file__).with_name("dashboard.yaml")
PATH = "charts/tidemill/files/dashboard.json"
WIDTH, STAT, GRAPH = 24, (3, 4), (6, 8)
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
LABELS = {"OP": 'job=~"$job"', "NS": 'namespace=~"$namespace"'}


def files() -> dict[str, str]:
    """Path in the repository → text."""
    return {PATH: json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "uid": "tidemill",
        "title": "Tidemill",
        "description": "The engine and the loop. docs/operations.md says how to read it.",
        "tags": ["tidemill"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "",
        "templating": {"list": list(_variables())},
        "panels": list(_panels(yaml.safe_load(PANELS.read_text()))),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    for name, label, query in (
        ("job", "Operator", "label_values(tidemill_leader, job)"),
        ("namespace", "Namespace", "label_values(tidemill_sampled_requests_total, namespace)"),
    ):
        yield {
            "name": name, "label": label, "type": "query", "datasource": SOURCE, "definition": query,
            "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1,
            "multi": True, "includeAll": True, "allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]},
        }  # fmt: skip


def _panels(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows from the top, panels from the left."""
    number = top = 0
    for row in rows:
        number += 1
        yield {
            "id": number, "type": "row", "title": row["row"], "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
        }  # fmt: skip
        top, left = top + 1, 0
        for panel in row["panels"]:
            number += 1
            width, height = STAT if "stat" in panel else GRAPH
            if left + width > WIDTH:
                top, left = top + height, 0
            yield _panel(panel, number) | {"gridPos": {"x": left, "y": top, "w": width, "h": height}}
            left += width
        top += height


def _panel(panel: dict[str, Any], number: int) -> dict[str, Any]:
    common = {
        "id": number,
        "title": panel["title"],
        "description": panel["help"],
        "datasource": SOURCE,
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": expression(text), "legendFormat": legend}
            for at, (legend, text) in enumerate(panel["query"].items())
        ],
    }
    if "stat" not in panel:
        custom = {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never"}
        options = {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
        defaults = {"unit": panel["unit"], "min": 0, "custom": custom}
        return common | {"type": "timeseries", "options": options, "fieldConfig": _field(defaults)}
    least, most = panel["stat"]
    steps: list[dict[str, Any]] = [{"color": "green" if least is None else "red", "value": None}]
    steps += [{"color": "green", "value": least}] if least is not None else []
    steps += [{"color": "red", "value": most}] if most is not None else []
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    defaults = {"unit": panel["unit"], "thresholds": {"mode": "absolute", "steps": steps}}
    return common | {"type": "stat", "options": options, "fieldConfig": _field(defaults)}


def _field(defaults: dict[str, Any]) -> dict[str, Any]:
    return {"defaults": defaults, "overrides": []}


def expression(text: str) -> str:
    """A query of dashboard.yaml with its labels in place."""
    for short, labels in LABELS.items():
        text = text.replace(f"{{{short}", f"{{{labels}")
    return text
