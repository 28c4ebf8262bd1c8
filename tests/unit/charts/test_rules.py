"""The alert rules, as Prometheus reads and evaluates them, and the sections of the guide that they link to."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT, Render

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text())
AT = {"namespace": "tidemill-system", "job": "tidemill-metrics"}
CRD = "--api-versions=monitoring.coreos.com/v1/PrometheusRule"


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program, "no promtool in the PATH: apt-get install prometheus"
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def spec(render: Render) -> dict[str, Any]:
    """The spec of the chart's PrometheusRule, which is a file of rules."""
    (rule,) = [m for m in render(CRD) if m["kind"] == "PrometheusRule"]
    found: dict[str, Any] = rule["spec"]
    return found


def alerts(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    (group,) = spec["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def test_promtool_accepts_the_alert_rules(spec: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(spec))
    done = promtool("check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(alerts(spec))} rules found" in done.stdout
    file.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "sum by (kind"}]}]}))
    assert promtool("check", "rules", file).returncode != 0, "promtool would accept anything"


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(spec: dict[str, Any]) -> None:
    assert {case["alert"] for case in CASES if case["fires"]} == set(alerts(spec))
    assert {case["alert"] for case in CASES if not case["fires"]} == set(alerts(spec))


def test_each_fires_when_it_shall_and_only_then(spec: dict[str, Any], tmp_path: Path) -> None:
    (group,) = spec["groups"]
    rules = [{**rule, "annotations": {"summary": rule["annotations"]["summary"]}} for rule in group["rules"]]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{**group, "rules": rules}]}))
    tests = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [_test(case) for case in CASES]}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    done = promtool("test", "rules", tmp_path / "tests.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    tests["tests"][0]["alert_rule_test"][0]["exp_alerts"] = []
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    assert promtool("test", "rules", tmp_path / "tests.yaml").returncode != 0, "promtool would expect anything"


def _test(case: dict[str, Any]) -> dict[str, Any]:
    """A case as promtool knows it."""
    at = ",".join(f'{name}="{value}"' for name, value in AT.items())
    expected = [
        {
            "exp_labels": {k: v for k, v in fired["labels"].items() if k != "AT"}
            | (AT if "AT" in fired["labels"] else {}),
            "exp_annotations": {"summary": fired["summary"]},
        }
        for fired in case["fires"]
    ]
    return {
        "interval": "1m",
        "input_series": [
            {"series": series.replace("AT", at), "values": values} for series, values in case["series"].items()
        ],
        "alert_rule_test": [{"eval_time": case["at"], "alertname": case["alert"], "exp_alerts": expected}],
    }


def test_every_alert_says_what_to_do_where_the_guide_goes_on(spec: dict[str, Any]) -> None:
    guide = (ROOT / "docs/operations.md").read_text()
    sections = {heading.strip().lower() for heading in re.findall(r"^#+ (Tidemill\w+)$", guide, re.MULTILINE)}
    assert sections == {name.lower() for name in alerts(spec)}, "one section an alert, and no other"
    for name, rule in alerts(spec).items():
        annotations = rule["annotations"]
        assert annotations["summary"].endswith("."), name
        assert annotations["description"].endswith((".", ")")), name
        assert annotations["runbook_url"] == f"docs/operations.md#{name.lower()}"


def test_every_shard_has_an_operator_and_a_leader(render: Render) -> None:
    (rule,) = [m for m in render(CRD, "--set", "shards=3") if m["kind"] == "PrometheusRule"]
    found = alerts(rule["spec"])
    for name in ("TidemillOperatorDown", "TidemillNoLeader"):
        assert found[name]["expr"].endswith("or vector(0)) < 3")


def test_limits_and_the_guides_place_are_values(render: Render) -> None:
    values = {
        "queueSeconds": 7,
        "failingObjects": 3,
        "errorRatio": 0.3,
        "apiErrorRatio": 0.4,
        "memoryRatio": 0.5,
        "driftScore": 0.6,
        "runbooks": "https://wiki/x",
    }
    # --set would make strings of numbers with a point.
    rendered = render(CRD, "--set-json", f"monitoring.rules={json.dumps(values)}")
    (rule,) = [m for m in rendered if m["kind"] == "PrometheusRule"]
    found = alerts(rule["spec"])
    assert found["TidemillNoLeader"]["annotations"]["runbook_url"] == "https://wiki/x#tidemillnoleader"
    for name, end in (
        ("TidemillQueueSlow", "> 7"),
        ("TidemillObjectsFailing", "> 3"),
        ("TidemillApiErrors", "> 0.4"),
        ("TidemillMemoryHigh", "> 0.5"),
        ("TidemillModelDrift", "> 0.6"),
    ):
        assert found[name]["expr"].endswith(end)
    assert "> 0.3\n" in found["TidemillReconcileErrors"]["expr"]
