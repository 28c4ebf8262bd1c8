"""What a peer ships, installed without its pods and without cert-manager.

Of its kustomization only CRDs, ConfigMaps and webhook configurations are kept. Its webhooks are reached by a Service without
a selector and an EndpointSlice with the host's address. One CA and one certificate serve all of them: an RSA key in PKCS#1
and a CA with its own name as an alternative name, which is what the certificate rotators of JobSet, Trainer and Kueue would
make, so that they keep what they find in their Secret.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.bench.peers.bed import Manifest, openssl
from tests.bench.peers.sources import source
from tests.e2e.apiserver import kubectl

KEPT = frozenset(
    {"CustomResourceDefinition", "ConfigMap", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}
)
CA_NAMES = ("jobset-ca", "kueue-ca", "kubeflow-trainer-ca")
SECRET_KEYS = ("ca.crt", "ca.key", "tls.crt", "tls.key")
PLACEHOLDERS = {"$(webhookServiceName)": "kserve-webhook-server-service", "$(kserveNamespace)": "kserve"}
"""What kubectl's kustomize leaves in KServe's manifests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a peer's webhooks listen on the host."""

    address: str
    port: int


def shipped(peer: str, kustomizations: tuple[str, ...], namespace: str) -> list[Manifest]:
    """What is kept of a peer's kustomizations."""
    kept: list[Manifest] = []
    for folder in kustomizations:
        text = kubectl("kustomize", str(source(peer) / folder))
        for placeholder, value in PLACEHOLDERS.items():
            text = text.replace(placeholder, value)
        for manifest in yaml.load_all(text, Loader=yaml.CSafeLoader):
            if manifest and manifest["kind"] in KEPT:
                if manifest["kind"] == "ConfigMap":
                    manifest["metadata"]["namespace"] = namespace
                kept.append(manifest)
    for config in _clients(kept):
        if config["service"]["namespace"] == "system":
            config["service"]["namespace"] = namespace
    return kept


def redirected(manifests: list[Manifest], endpoint: Endpoint, secret: tuple[str, str], folder: Path) -> list[Manifest]:
    """The manifests with the CA in them, and what leads to the endpoint. `secret`: namespace and name of the certificate's."""
    services = {
        (config["service"]["namespace"], config["service"]["name"]): int(config["service"].get("port", 443))
        for config in _clients(manifests)
    }
    certificates = serving_certificates(folder, [f"{name}.{namespace}.svc" for namespace, name in sorted(services)])
    for config in _clients(manifests):
        config["caBundle"] = certificates["ca.crt"]
    namespace, name = secret
    made: list[Manifest] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "data": dict(certificates),
        },
    ]
    for (namespace, name), port in services.items():
        made += _leading(namespace, name, port, endpoint)
    return [*made, *sorted(manifests, key=lambda m: m["kind"] != "CustomResourceDefinition")]


def serving_certificates(folder: Path, names: list[str]) -> Mapping[str, str]:
    """A CA and a certificate for these names, made in the folder; base64, by the keys of the rotators' Secrets."""
    folder.mkdir()

    def make(*arguments: str) -> None:
        openssl(*arguments, folder=folder)

    for key in ("ca.key", "tls.key"):
        make("genrsa", "-traditional", "-out", key, "2048")
    ca_names = ",".join(f"DNS:{name}" for name in CA_NAMES)
    make("req", "-x509", "-key", "ca.key", "-days", "3650", "-subj", "/CN=peers-ca", "-out", "ca.crt",
         "-addext", f"subjectAltName={ca_names}", "-addext", "extendedKeyUsage=serverAuth",
         "-addext", "keyUsage=critical,keyCertSign,digitalSignature,keyEncipherment")  # fmt: skip
    extensions = {
        "subjectAltName": ",".join(f"DNS:{name}" for name in ("peers", *names)),
        "extendedKeyUsage": "serverAuth",
        "authorityKeyIdentifier": "keyid",
    }
    (folder / "extensions").write_text("".join(f"{key}={value}\n" for key, value in extensions.items()))
    make("req", "-new", "-key", "tls.key", "-subj", "/CN=peers", "-out", "tls.csr")
    make("x509", "-req", "-in", "tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3650",
         "-extfile", "extensions", "-out", "tls.crt")  # fmt: skip
    return {key: base64.b64encode((folder / key).read_bytes()).decode() for key in SECRET_KEYS}


def _clients(manifests: list[Manifest]) -> Iterator[dict[str, Any]]:
    """How the API server reaches each webhook of these manifests."""
    for manifest in manifests:
        for webhook in manifest.get("webhooks") or ():
            yield webhook["clientConfig"]
        conversion = manifest.get("spec", {}).get("conversion") or {}
        if "webhook" in conversion:
            yield conversion["webhook"]["clientConfig"]


def _leading(namespace: str, name: str, port: int, endpoint: Endpoint) -> list[Manifest]:
    metadata = {"name": name, "namespace": namespace}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"port": port, "targetPort": endpoint.port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": endpoint.port}],
            "endpoints": [{"addresses": [endpoint.address], "conditions": {"ready": True}}],
        },
    ]
