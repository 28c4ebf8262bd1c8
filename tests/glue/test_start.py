"""What stops the start once the cluster is asked; the rest is in tests/unit/runtime/test_start.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def start(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m tidemill.runtime` until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "tidemill.runtime", "--http-port", "0", *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator"), **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_namespace_that_does_not_exist_stops_the_start(tmp_path: Path) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text("watch: {namespaces: [default, no-such-namespace]}\n")
    text = "namespace 'no-such-namespace' does not exist: create it, or name another"
    for flags, origin, key in (
        (("--config", str(config)), str(config), "watch.namespaces"),
        (("--watch-namespaces", "no-such-namespace"), "flag --watch-namespaces", "watch.namespaces"),
        (("--lease-namespace", "no-such-namespace"), "flag --lease-namespace", "lease.namespace"),
    ):
        ended = start(*flags)
        assert ended.returncode == 2, ended.stderr
        said = [line for line in ended.stderr.splitlines() if not line.startswith("{")]  # without the log
        assert said == [f"error: {key}: {text}, from {origin}"]


def test_help_names_every_setting() -> None:
    ended = start("--help")
    assert ended.returncode == 0
    assert "--watch-namespaces" in ended.stdout
    assert "TIDEMILL_OPERATOR_" in ended.stdout
