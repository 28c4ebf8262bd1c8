"""Where the API server is and how to prove who we are: the pod's own service account, or a kubeconfig file."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_CHECK_SECONDS = 30.0


class ConfigError(Exception):
    """The connection's configuration is unusable; the message names the file and the field."""


class Token(Protocol):
    """A bearer token that may change while the process runs."""

    def get(self) -> str:
        """The token to send now."""


@dataclass(frozen=True, slots=True)
class StaticToken:
    """A token written in a kubeconfig."""

    value: str

    def get(self) -> str:
        """The token."""
        return self.value


class FileToken:
    """A token in a file that the kubelet rotates: read again when half a minute has passed."""

    def __init__(self, path: Path, what: str = "service account token") -> None:
        self._path = path
        self._value = _read_text(path, what)
        self._read_at = time.monotonic()

    def get(self) -> str:
        """The token; when the file cannot be read just now, the one that was read last."""
        if time.monotonic() - self._read_at > TOKEN_CHECK_SECONDS:
            self._read_at = time.monotonic()
            try:
                self._value = self._path.read_text().strip() or self._value
            except (OSError, UnicodeDecodeError):
                return self._value
        return self._value


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Everything a client needs to open a session."""

    server: str
    """Scheme, host and port, without a slash at the end."""
    tls: ssl.SSLContext | None
    token: Token | None
    namespace: str
    """The namespace of the service account or of the kubeconfig's context."""


def load(kubeconfig: str | None = None, *, context: str | None = None) -> Connection:
    """The connection: an explicit kubeconfig, else $KUBECONFIG, else the pod's service account, else ~/.kube/config."""
    chosen = kubeconfig or os.environ.get("KUBECONFIG")
    if chosen:
        return from_kubeconfig(Path(chosen), context=context)
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster()
    default = Path.home() / ".kube" / "config"
    if default.exists():
        return from_kubeconfig(default, context=context)
    raise ConfigError("no cluster to talk to: not in a pod, $KUBECONFIG is not set and ~/.kube/config does not exist")


def in_cluster(root: Path = SERVICE_ACCOUNT) -> Connection:
    """The connection of a pod: the service account's token and CA, and the environment's address."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigError("KUBERNETES_SERVICE_HOST is not set: not in a pod")
    namespace = root / "namespace"
    return Connection(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        tls=_tls("service account", ca_file=root / "ca.crt"),
        token=FileToken(root / "token"),
        namespace=_read_text(namespace, "service account namespace") if namespace.exists() else "default",
    )


def from_kubeconfig(path: Path, *, context: str | None = None) -> Connection:
    """The connection that a kubeconfig's current (or named) context describes."""
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"kubeconfig {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"kubeconfig {path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"kubeconfig {path}: not a mapping")
    name = context or document.get("current-context") or ""
    chosen = _named(document, path, "contexts", "context", name)
    cluster = _named(document, path, "clusters", "cluster", chosen.get("cluster", ""))
    user = _named(document, path, "users", "user", chosen.get("user", ""))
    server = str(cluster.get("server", "")).rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise ConfigError(f"kubeconfig {path}: cluster {chosen.get('cluster')!r} has no usable server: {server!r}")
    for unsupported in ("exec", "auth-provider"):
        if unsupported in user:
            raise ConfigError(
                f"kubeconfig {path}: user {chosen.get('user')!r} uses {unsupported}, which is not supported: "
                "use a client certificate or a token (kubectl create token)"
            )
    return Connection(
        server=server,
        tls=_kubeconfig_tls(cluster, user, path) if server.startswith("https://") else None,
        token=_kubeconfig_token(user, path),
        namespace=chosen.get("namespace") or "default",
    )


def _named(document: dict[str, Any], path: Path, section: str, key: str, name: str) -> dict[str, Any]:
    entries = document.get(section) or []
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("name") == name:
            found = entry.get(key) or {}
            if not isinstance(found, dict):
                raise ConfigError(f"kubeconfig {path}: {key} of {section} entry {name!r} must be a mapping")
            return found
    raise ConfigError(f"kubeconfig {path}: {section} has no entry named {name!r}")


def _kubeconfig_token(user: dict[str, Any], path: Path) -> Token | None:
    if user.get("tokenFile"):
        return FileToken(path.parent / user["tokenFile"], f"kubeconfig {path}: tokenFile")
    return StaticToken(user["token"]) if user.get("token") else None


def _kubeconfig_tls(cluster: dict[str, Any], user: dict[str, Any], path: Path) -> ssl.SSLContext:
    ca_file = path.parent / cluster["certificate-authority"] if cluster.get("certificate-authority") else None
    ca_data = (
        _decode(cluster["certificate-authority-data"], path) if cluster.get("certificate-authority-data") else None
    )
    insecure = bool(cluster.get("insecure-skip-tls-verify"))
    context = _tls(f"kubeconfig {path}", ca_file=ca_file, ca_data=ca_data, insecure=insecure)
    cert, key = user.get("client-certificate"), user.get("client-key")
    if user.get("client-certificate-data") and user.get("client-key-data"):
        with tempfile.NamedTemporaryFile(prefix="tidemill-", suffix=".pem") as pem:  # mode 0600, gone when loaded
            pem.write(_decode(user["client-certificate-data"], path) + b"\n" + _decode(user["client-key-data"], path))
            pem.flush()
            _load_certificate(context, pem.name, None, path)
    elif cert and key:
        _load_certificate(context, str(path.parent / cert), str(path.parent / key), path)
    return context


def _load_certificate(context: ssl.SSLContext, cert: str, key: str | None, path: Path) -> None:
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"kubeconfig {path}: client certificate or key unusable: {_why(error)}") from error


def _tls(
    what: str, *, ca_file: Path | None = None, ca_data: bytes | None = None, insecure: bool = False
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        if ca_data:
            context.load_verify_locations(cadata=ca_data.decode())
        elif ca_file:
            context.load_verify_locations(cafile=str(ca_file))
        else:
            context.load_default_certs()
    except (OSError, ssl.SSLError, UnicodeDecodeError) as error:
        field = f"CA certificate {ca_file}" if ca_file else "certificate-authority-data"
        raise ConfigError(f"{what}: {field} unusable: {_why(error)}: give the cluster's CA in PEM format") from error
    return context


def _decode(text: str, path: Path) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError(f"kubeconfig {path}: certificate or key data is not base64: {error}") from error


def _read_text(path: Path, what: str) -> str:
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {path}: {_why(error)}") from error
    if not text:
        raise ConfigError(f"{what} {path} is empty")
    return text


def _why(error: Exception) -> str:
    """What is wrong with a file, in words for people."""
    match error:
        case ssl.SSLError():
            return (error.reason or "no certificate in it").replace("_", " ").lower()
        case OSError():
            return error.strerror or str(error)
        case _:
            return "not text"
