"""What stops the start, with which words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def start(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m tidemill.runtime` until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "tidemill.runtime", "--http-port", "0", *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator"), **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--watch-resync-interval", "-5"), "watch.resyncInterval: Input should be greater than 0"),
        (("--watch-namespaces", "no-such-namespace"), "watch.namespaces: namespace 'no-such-namespace' does not exist"),
        (("--kubeconfig", "/none"), "kubeconfig /none: No such file or directory"),
        (("--prometheus-ca-file", "/none", "--prometheus-url", "https://p"), "prometheus.caFile: /none"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_clear_line(flags: tuple[str, ...], message: str) -> None:
    ended = start(*flags)
    assert ended.returncode == 2
    assert [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_names_every_setting() -> None:
    ended = start("--help")
    assert ended.returncode == 0
    assert "--watch-namespaces" in ended.stdout
    assert "TIDEMILL_OPERATOR_" in ended.stdout
