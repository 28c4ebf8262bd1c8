"""Kubeconfigs and service accounts, good and bad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tidemill.kube import config


def kubeconfig(folder: Path, *, user: Any, cluster: dict[str, Any] | None = None) -> Path:
    path = folder / "config"
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "n"}}],
        "clusters": [{"name": "k", "cluster": cluster or {"server": "http://127.0.0.1:8080/"}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_token_and_a_namespace(tmp_path: Path) -> None:
    connection = config.from_kubeconfig(kubeconfig(tmp_path, user={"token": "t"}))
    assert connection.server == "http://127.0.0.1:8080"
    assert connection.namespace == "n"
    assert connection.token is not None
    assert connection.token.get() == "t"


@pytest.mark.parametrize(
    ("user", "cluster", "message"),
    [
        ({"exec": {}}, None, "user 'u' uses exec, which is not supported"),
        ({}, {"server": "k8s"}, "cluster 'k' has no usable server: 'k8s'"),
        ({}, {"server": "https://x", "certificate-authority-data": "%%"}, "is not base64"),
        ({}, {"server": "https://x", "certificate-authority": "none.crt"}, "none.crt unusable: No such file"),
        (
            {},
            {"server": "https://x", "certificate-authority": "config"},
            "config unusable: no certificate .*: give the cluster's CA",
        ),
        (
            {},
            {"server": "https://x", "certificate-authority-data": "bm9uZQ=="},
            "kubeconfig .*: certificate-authority-data unusable: .* in PEM format",
        ),
        ({"tokenFile": "none"}, None, "kubeconfig .*: tokenFile .*none: No such file"),
        ({"tokenFile": "binary"}, None, "kubeconfig .*: tokenFile .*binary: not text"),
        ({"tokenFile": "empty"}, None, "kubeconfig .*: tokenFile .*empty is empty"),
        ("name", None, "user of users entry 'u' must be a mapping"),
        ({"client-certificate": "a", "client-key": "b"}, {"server": "https://x"}, "client certificate or key unusable"),
    ],
)
def test_errors_name_the_file_and_the_field(
    tmp_path: Path, user: Any, cluster: dict[str, Any] | None, message: str
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(config.ConfigError, match=message):
        config.from_kubeconfig(kubeconfig(tmp_path, user=user, cluster=cluster))


def test_a_missing_context_is_named(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, user={})
    with pytest.raises(config.ConfigError, match="contexts has no entry named 'other'"):
        config.from_kubeconfig(path, context="other")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: [", b"- a list"])
def test_what_is_no_kubeconfig_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config").write_bytes(content)
    with pytest.raises(config.ConfigError, match=r"kubeconfig .*/config: not (YAML|a mapping)") as caught:
        config.from_kubeconfig(tmp_path / "config")
    assert "\n" not in str(caught.value)


def test_a_section_that_is_no_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("{current-context: c, contexts: {c: {}}}")
    with pytest.raises(config.ConfigError, match="contexts has no entry named 'c'"):
        config.from_kubeconfig(tmp_path / "config")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="none: No such file"):
        config.from_kubeconfig(tmp_path / "none")


def test_a_rotated_token_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    token = config.FileToken(path)
    path.write_text("second\n")
    assert token.get() == "first"
    monkeypatch.setattr(config, "TOKEN_CHECK_SECONDS", -1.0)
    assert token.get() == "second"
    path.unlink()
    assert token.get() == "second"


def test_a_pod_without_a_token_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(config.ConfigError, match=r"CA certificate .*ca\.crt unusable"):
        config.in_cluster(tmp_path)
