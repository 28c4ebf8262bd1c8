"""A real S3 store (SeaweedFS on free loopback ports), and models trained once for many tests."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.client import Config

from .lab import ACCESS, SECRET, Lab, Seaweed, free_ports, make_lab, weed_binary
from .samples import Studio, dataset, train


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    folder = tmp_path_factory.mktemp("weed")
    names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"]
    names += ["s3.port", "s3.port.grpc"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    reader = {
        "name": "reader",
        "credentials": [{"accessKey": "reader", "secretKey": "reader-secret"}],
        "actions": ["Read:nothing-here"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity, reader]}))
    (folder / "data").mkdir()
    command = [
        weed_binary(), "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-s3.port.iceberg=0",
        "-s3.port.lance=0", f"-s3.config={folder / 's3.json'}", "-master.volumeSizeLimitMB=64", "-volume.max=50",
        "-master.telemetry=false", *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with (folder / "weed.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
        endpoint = f"http://127.0.0.1:{ports['s3.port']}"
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    client.create_bucket(Bucket="tidemill")
                    client.put_object(Bucket="tidemill", Key="ready", Body=b"")
                    break
                except Exception:
                    assert process.poll() is None, (folder / "weed.log").read_text()[-2000:]
                    assert time.monotonic() < deadline, (folder / "weed.log").read_text()[-2000:]
                    time.sleep(0.1)
            yield Seaweed(endpoint, client, process)
        finally:
            process.kill()  # a graceful stop takes 15 s, and nothing in it is worth keeping
            process.wait()


@pytest.fixture(scope="session")
def studio(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    lab = make_lab(seaweed, tmp_path_factory.mktemp("studio"))
    data = dataset(lab, 2000)
    regression = lab.run(train(lab, data, run="regression", trainer={"hiddenLayers": [64, 64]}))
    classification = lab.run(
        train(lab, data, "Classification", run="classification", trainer={"target": "carrier", "exclude": []})
    )
    return Studio(lab, data, regression, classification)


@pytest.fixture
def lab(seaweed: Seaweed, tmp_path: Path) -> Lab:
    return make_lab(seaweed, tmp_path)
