"""The charts as helm renders them; no cluster is needed for it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def helm() -> Path:
    """The helm that `make check` lints with; compiled once."""
    done = subprocess.run(
        [ROOT / "hack/cluster", "build", "helm"], capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip()) / "helm"


@pytest.fixture(scope="session")
def render(helm: Path) -> Render:
    """Renders the operator's chart with arguments of `helm template`."""

    def rendered(*arguments: str) -> list[dict[str, Any]]:
        chart = ROOT / "charts/tidemill"
        command = [str(helm), "template", "tidemill", str(chart), "--namespace", "tidemill-system", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]

    return rendered
