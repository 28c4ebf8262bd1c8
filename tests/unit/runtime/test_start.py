"""Wrong settings stop the start: one line that names the setting, its origin and the way out, exit status 2, no traceback."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill.runtime.__main__ import EXIT_SETTINGS, main


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """The program sets up logging for its process; here the process goes on."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """One that leads nowhere: no start gets so far."""
    path = tmp_path / "kubeconfig"
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
    }
    path.write_text(json.dumps(document))
    (tmp_path / "no.pem").write_text("not a certificate\n")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    return path


OTHERS = ("--prometheus-url=https://p", "--http-address=127.0.0.1", "--http-port=0")
WRONG = [
    ("--colour=red", "flag --colour: no such setting"),
    (
        "--watch-resync-interval=-5",
        "watch.resyncInterval: Input should be greater than 0 (got '-5'), from flag --watch-res",
    ),
    ("--workers=many", "workers: Input should be a valid integer"),
    ("--kubeconfig={folder}/none", "kubeconfig {folder}/none: No such file or directory, from flag --kubeconfig"),
    ("--kubeconfig={folder}/no.pem", "kubeconfig {folder}/no.pem: not a mapping, from flag --kubeconfig"),
    ("--prometheus-ca-file={folder}/none", "prometheus.caFile: {folder}/none: No such file or directory: give a file"),
    ("--prometheus-ca-file={folder}/no.pem", "prometheus.caFile: {folder}/no.pem: no certificate in PEM format: give"),
    ("--prometheus-ca-file={folder}", "prometheus.caFile: {folder}: "),
    ("--prometheus-token-file={folder}/none", "prometheus.tokenFile: {folder}/none: No such file or directory: give"),
    ("--prometheus-token-file={folder}/empty", "prometheus.tokenFile: {folder}/empty: is empty: give a file that the"),
    ("--prometheus-token-file={folder}/binary", "prometheus.tokenFile: {folder}/binary: is not text: give a file"),
    ("--http-port={taken}", "httpPort: nothing can listen on 127.0.0.1:{taken}: "),
]


@pytest.mark.parametrize(("flag", "message"), WRONG)
def test_a_wrong_setting_stops_the_start(
    kubeconfig: Path, flag: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        names = {"{folder}": str(kubeconfig.parent), "{taken}": str(taken.getsockname()[1])}

        def filled(text: str) -> str:
            for name, value in names.items():
                text = text.replace(name, value)
            return text

        assert main([f"--kubeconfig={kubeconfig}", *OTHERS, filled(flag)]) == EXIT_SETTINGS
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {filled(message)}")
    assert flag.partition("=")[0] in line, "it names where the setting came from"
