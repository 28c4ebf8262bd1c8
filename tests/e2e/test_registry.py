"""Images in a registry: pushed without a daemon, byte for byte what was built, and pulled by the cluster's node."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.cluster import ROOT, Cluster
from tests.e2e.pods import apply, finished, pod

pytestmark = pytest.mark.e2e

HOSTS = """server = "http://{0}"
[host."http://{0}"]
  capabilities = ["pull", "resolve"]
"""


@contextmanager
def registry(address: str, folder: Path) -> Iterator[str]:
    """A registry on a free port of an address."""
    command = [_images("crane").strip(), "registry", "serve", "--address", f"{address}:0", "--disk", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        said = ""
        while not (found := re.search(r"serving on port (\d+)", said)):
            line = process.stdout.readline()
            assert line, f"the registry did not start: {said}"
            said += line
        yield f"{address}:{found[1]}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def test_what_is_pulled_has_the_bytes_that_were_built(tmp_path: Path) -> None:
    """The printed values name the registry and the digest of the build; the layers come back as they were."""
    built = json.loads(_images("digests", "operator"))["images"]["operator"]
    if not built["digest"]:
        pytest.skip("Docker builds the images: their digests are made by the registry")
    (tmp_path / "blobs").mkdir()
    with registry("127.0.0.1", tmp_path / "blobs") as host:
        text = _images("push", f"{host}/team/tidemill", "operator")
        pushed = json.loads(text)["images"]["operator"]
        assert pushed == {**built, "repository": f"{host}/team/tidemill/operator"}
        layout = tmp_path / "layout"
        reference = f"{pushed['repository']}@{pushed['digest']}"
        subprocess.run([_images("crane").strip(), "pull", "--format=oci", reference, layout], check=True, timeout=120)
    with (tmp_path / "values.yaml").open("w") as values:
        values.write(text)
    assert _images("reference", "operator", origin=values.name).strip() == reference
    pulled = {path.name: path for path in (layout / "blobs/sha256").iterdir()}
    blobs = subprocess.run(["sha256sum", *pulled.values()], capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in blobs.splitlines()] == list(pulled)
    manifest = json.loads(pulled[built["digest"].removeprefix("sha256:")].read_bytes())
    wanted = {entry["digest"].removeprefix("sha256:") for entry in (manifest["config"], *manifest["layers"])}
    assert wanted <= pulled.keys()


def test_the_cluster_pulls_what_was_pushed(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """A pod runs an image from the registry that no loading could have brought.

    It is a labelled copy of what was pushed: once the kubelet has pulled an image it asks for it anew by whatever name (its
    check of pull credentials), and the image of the same content that was loaded for all other tests could not be used.
    """
    with registry(cluster.host(), tmp_path) as host:
        settings = Path(cluster.environment["KUBECONFIG"]).parent / "registries" / host / "hosts.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text(HOSTS.format(host))
        try:
            image = json.loads(_images("push", f"{host}/tidemill", "operator"))["images"]["operator"]
            pushed, copied = f"{image['repository']}@{image['digest']}", f"{image['repository']}:copied"
            mutate = [_images("crane").strip(), "mutate", pushed, "--insecure", "--label=copied=yes", "--tag", copied]
            done = subprocess.run(mutate, capture_output=True, text=True, timeout=120, check=True)
            reference = done.stdout.strip()
            assert reference.startswith(f"{image['repository']}@sha256:")
            assert reference != pushed
            apply(namespace, pod("pulled", reference, "python3", "-c", "import tidemill.runtime; print('pulled')"))
            assert finished(namespace, "pulled") == "pulled\n"
        finally:
            settings.unlink()
            settings.parent.rmdir()


def _images(*arguments: str, origin: str = "packages") -> str:
    environment = {**os.environ, "TIDEMILL_IMAGES": origin}
    command = [ROOT / "hack/images", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
