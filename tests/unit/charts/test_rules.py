"""The alert rules, as Prometheus reads them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import yaml

from .conftest import Render


def _check(file: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program, "no promtool in the PATH: apt-get install prometheus"
    return subprocess.run([program, "check", "rules", file], capture_output=True, text=True, timeout=60, check=False)


def test_promtool_accepts_the_alert_rules(render: Render, tmp_path: Path) -> None:
    manifests = render("--api-versions=monitoring.coreos.com/v1/PrometheusRule")
    (rule,) = [m for m in manifests if m["kind"] == "PrometheusRule"]
    (group,) = rule["spec"]["groups"]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rule["spec"]))
    done = _check(file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(group['rules'])} rules found" in done.stdout
    group["rules"][0]["expr"] = "sum by (kind"
    file.write_text(yaml.safe_dump(rule["spec"]))
    assert _check(file).returncode != 0, "promtool would accept anything"
