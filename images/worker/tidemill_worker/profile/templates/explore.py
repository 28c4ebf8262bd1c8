# %% [markdown]
# # Explore a dataset version
#
# This notebook lies in the version that it explores. A version's name is the digest of its content, so the digest cannot stand
# in here. Run it in one of two ways:
#
# - with `TIDEMILL_DATASET_URI` set to the version's `.status.uri`, and the usual `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`
#   and, for a store that is not Amazon's, `AWS_ENDPOINT_URL`;
# - in the version's folder, downloaded as a whole.
#
# The folder's name is the digest. If it was renamed, give `TIDEMILL_DATASET_DIGEST` (the version's `.status.digest`).
# It needs boto3, matplotlib, numpy and pyarrow.

# %%
import hashlib
import io
import json
import os
from pathlib import Path

import boto3
import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from botocore.config import Config
from matplotlib.axes import Axes

plt.rcParams["text.parse_math"] = False  # what stands between two $ in a name is no formula

# %% parameters
uri = os.environ.get("TIDEMILL_DATASET_URI", ".")
digest = os.environ.get("TIDEMILL_DATASET_DIGEST", "")


# %% read and check
def fetch(path: str) -> bytes:
    """A file of the version, as it is."""
    if not uri.startswith("s3://"):
        return (Path(uri) / path).read_bytes()
    bucket, _, folder = uri.removeprefix("s3://").rstrip("/").partition("/")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    store = boto3.client("s3", region_name=region, config=Config(s3={"addressing_style": "path"}))
    body: bytes = store.get_object(Bucket=bucket, Key=f"{folder}/{path}")["Body"].read()
    return body


manifest = fetch("manifest.json")
found = hashlib.sha256(manifest).hexdigest()
name = uri.rstrip("/").rpartition("/")[2] if uri.startswith("s3://") else Path(uri).resolve().name
expected = digest.removeprefix("sha256:") or name
if len(expected) != 64:
    raise SystemExit(f"set TIDEMILL_DATASET_DIGEST: {name!r} is no digest (the manifest here has sha256:{found})")
if found != expected:
    raise SystemExit(f"the manifest has the digest sha256:{found}, not sha256:{expected}: the version was changed")
files = {entry["path"]: entry for entry in json.loads(manifest)["files"]}


def read(path: str) -> bytes:
    """A file of the version, checked against the manifest."""
    body = fetch(path)
    if hashlib.sha256(body).hexdigest() != files[path]["sha256"]:
        raise SystemExit(f"{path} differs from the manifest: it was changed")
    return body


profile = json.loads(read("profile.json"))
splits = {split: pq.read_table(io.BytesIO(read(f"{split}.parquet"))) for split in profile["rows"]}
rows = pa.concat_tables(splits.values())
print(f"sha256:{found}: {rows.num_rows} rows, {rows.num_columns} columns")

# %% alerts
for alert in profile.get("alerts", []):
    print(f"{alert['kind']:18} {alert.get('column', ''):30} {alert['message']}")


# %% numbers: the distribution in each split
def numbers(table: pa.Table, column: str) -> np.ndarray:
    """The finite values of a column."""
    values = np.asarray(pc.cast(table[column], pa.float64(), safe=False).drop_null())
    finite: np.ndarray = values[np.isfinite(values)]
    return finite


def grid(count: int, height: float = 2.4) -> list[Axes]:
    """So many axes in three columns."""
    figure, axes = plt.subplots(-(-count // 3), 3, figsize=(14, height * -(-count // 3)), squeeze=False)
    for spare in axes.flat[count:]:
        spare.set_axis_off()
    figure.set_layout_engine("tight")
    return list(axes.flat[:count])


numeric = [c for c in profile["columns"] if c["kind"] == "Number" and len(c.get("histogram", {}).get("counts", [])) > 1]
for axis, column in zip(grid(len(numeric[:12])) if numeric else [], numeric[:12], strict=True):
    edges = np.array(column["histogram"]["edges"], dtype=float)
    for split, table in splits.items():
        values = np.clip(numbers(table, column["name"]), edges[0], edges[-1])
        if len(values):
            counts, _ = np.histogram(values, edges)
            axis.stairs(counts / counts.sum(), edges, label=split)
    axis.set_title(column["name"])
    axis.legend(fontsize=7)
plt.show()

# %% categories: shares
named = [c for c in profile["columns"] if c["kind"] in ("Category", "Boolean") and c.get("top")]
for axis, column in zip(grid(len(named[:12])) if named else [], named[:12], strict=True):
    axis.barh([str(t["value"])[:24] for t in column["top"]], [t["count"] / rows.num_rows for t in column["top"]])
    axis.invert_yaxis()
    axis.set_title(column["name"])
plt.show()

# %% correlations of the numbers, from the rows
if len(numeric) > 1:
    names = [c["name"] for c in numeric[:30]]
    complete = rows.select(names).drop_null()
    matrix = (
        np.corrcoef([pc.cast(complete[n], pa.float64(), safe=False).to_numpy() for n in names])
        if len(complete) > 1
        else None
    )
    if matrix is not None:
        plt.figure(figsize=(7, 6))
        plt.imshow(matrix, cmap="RdBu", vmin=-1, vmax=1)
        plt.xticks(range(len(names)), names, rotation=90)
        plt.yticks(range(len(names)), names)
        plt.colorbar(label="Pearson, complete rows")
        plt.show()

# %% missing values, from the rows
absent = {name: rows[name].null_count / rows.num_rows for name in rows.column_names if rows[name].null_count}
if absent:
    plt.figure(figsize=(8, 0.3 * len(absent) + 1))
    plt.barh(list(absent), list(absent.values()))
    plt.xlabel("share of missing values")
    plt.show()

# %% over time
if over := profile.get("timeAxis"):
    lines = {"rows": over["rows"], **({profile["target"]["meaning"]: over["target"]} if over.get("target") else {})}
    for axis, (title, line) in zip(grid(len(lines), 3), lines.items(), strict=True):
        axis.plot([np.nan if value is None else value for value in line], marker=".")
        axis.set_xticks([0, len(line) - 1], [over["starts"][0], over["starts"][-1]])
        axis.set_title(f"{title} by {over['column']} ({over['step']})")
    plt.show()

# %% the target: how well each column predicts it alone
if target := profile.get("target"):
    scored = [r for r in target["relations"] if r.get("score") is not None][:30]
    plt.figure(figsize=(8, 0.3 * len(scored) + 1))
    plt.barh([r["column"] for r in scored], [r["score"] for r in scored])
    plt.gca().invert_yaxis()
    plt.title(f"{target['measure']} of one column alone for {target['column']}")
    plt.show()
