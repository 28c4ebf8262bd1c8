"""docs/tracking.md: its commands run, its manifest is valid, and the plugin installs as it says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from tests.cli.api import Api
from tests.cli.conftest import Tidemill
from tests.cli.objects import run, succeeded, version

from tidemill.api.v1alpha1.trainingrun import TrainingRunSpec

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/tracking.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_guide_runs(
    line: str, api: Api, tidemill: Tidemill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("flights-q1", "flights-q2"), start=1):
        labels = {"sweep": "learning-rate"}
        api.add(run(name, model="flights", labels=labels, status=succeeded({"test": {"mae": 10.0 + number}})))
    api.add(version("flights-v1", trainingRun="flights-q1"))
    program, plugin, *arguments = shlex.split(line)
    assert (program, plugin) == ("kubectl", "tidemill")
    said = tidemill(*arguments)
    assert said.status == 0, said.err
    assert said.out or (tmp_path / "flights.html").exists()


def test_the_guide_has_every_command_in_every_format() -> None:
    assert {shlex.split(line)[2] for line in COMMANDS} == {"runs", "compare", "lineage"}
    assert {*re.findall(r"-o (\w+)", "\n".join(COMMANDS))} == {"json", "html"}


def test_the_guides_manifest_is_valid() -> None:
    (text,) = blocks("yaml")
    base = {"dataset": {"name": "d"}, "model": {"name": "m"}, "trainer": {"tabularRegression": {"target": "t"}}}
    spec = TrainingRunSpec.model_validate({**base, **yaml.safe_load(text)["spec"]})
    assert spec.tracking is not None
    assert spec.tracking.mlflow.secret_name == "mlflow"


def test_the_plugin_installs_with_its_page_and_its_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT / "cli", check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
        (metadata,) = [name for name in names if name.endswith("/METADATA")]
        (points,) = [name for name in names if name.endswith("/entry_points.txt")]
        assert "tidemill_cli/templates/compare.html.j2" in names
        assert "kubectl-tidemill = tidemill_cli.main:program" in content.read(points).decode()
        assert "Requires-Dist: tidemill\n" in content.read(metadata).decode()
