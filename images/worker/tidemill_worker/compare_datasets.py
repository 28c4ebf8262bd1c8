"""Compares two stored dataset versions: `python -m tidemill_worker.compare_datasets URI_A URI_B --out FOLDER`."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tidemill.contract.profile import Profile
from tidemill.contract.tasks import ArtifactRef
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context
from tidemill_worker.data import compare_html, engine
from tidemill_worker.data.compare import Comparison, Version, compare
from tidemill_worker.data.engine import literal
from tidemill_worker.environment import Environment
from tidemill_worker.errors import InvalidSpec, TaskError
from tidemill_worker.profile.reader import Reader
from tidemill_worker.progress import Tracker
from tidemill_worker.store import Store

_HELP = """\
Compares two versions of a dataset: rows, schema, and for each column how far its distribution has moved.

A version is named by its URI, s3://bucket/namespace/datasets/name/<digest>, as it stands in the Dataset's .status.uri; every
file is checked against it. A folder whose name is no digest needs one: s3://bucket/folder@sha256:<digest>.
"""
_STORE = """\
environment: TIDEMILL_STORE_ENDPOINT or AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION
exit code: 0, or that of the failure (64 to 78: the input is wrong; 1: worth another try)
"""


def reference(text: str) -> ArtifactRef:
    """`<uri>@sha256:<hex>`, or a URI that ends in the digest's hex. Raises InvalidSpec."""
    uri, _, digest = text.partition("@")
    uri = uri.rstrip("/")
    digest = digest or "sha256:" + uri.rpartition("/")[2]
    if not uri.startswith("s3://") or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise InvalidSpec(
            f"{text!r} names no version: give s3://bucket/…/<64 hex digits>, or s3://bucket/…@sha256:<64 hex digits>"
        )
    return ArtifactRef(uri=uri, digest=digest)


def run(context: Context, first: ArtifactRef, second: ArtifactRef) -> Comparison:
    """Download both versions, check every file that is read, and compare."""
    connection = engine.connect(context.folder("spill"), context.environment.memory_bytes)
    try:
        sides = []
        for name, ref in (("first", first), ("second", second)):
            artifact = Artifact(context, ref, name=f"{name} version")
            profile = artifact.parse("profile.json", Profile)
            files = [literal(str(artifact.fetch(f"{split}.parquet"))) for split in profile.rows]
            connection.execute(f"CREATE VIEW {name} AS FROM read_parquet([{', '.join(files)}])")
            rows = Reader(connection, name, engine.columns(connection, name))
            sides.append(Version(ref.digest, profile, rows))
        return compare(sides[0], sides[1])
    finally:
        connection.close()


def _write(comparison: Comparison, folder: Path) -> None:
    texts = {
        "comparison.json": comparison.model_dump_json(by_alias=True, exclude_none=True, indent=1),
        "comparison.html": compare_html.render(comparison),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text)
    except OSError as error:
        raise InvalidSpec(f"--out: {folder} cannot be written: {error.strerror}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, compare, write `comparison.json` and `comparison.html`. Returns the exit code."""
    parser = argparse.ArgumentParser(
        usage="python -m tidemill_worker.compare_datasets URI_A URI_B --out FOLDER",
        description=_HELP,
        epilog=_STORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("first", metavar="URI_A", help="the version to measure against")
    parser.add_argument("second", metavar="URI_B", help="the version that is measured")
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="made when it does not exist")
    given = parser.parse_args(arguments)
    try:
        first, second = reference(given.first), reference(given.second)
        if given.out.exists() and not given.out.is_dir():
            raise InvalidSpec(f"--out: {given.out} is not a folder")
        with tempfile.TemporaryDirectory() as folder:
            tracker = Tracker()
            environment = replace(Environment.read(), work_dir=Path(folder))
            comparison = run(
                Context(environment=environment, store=Store.connect(tracker), tracker=tracker), first, second
            )
        _write(comparison, given.out)
    except TaskError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return int(error.exit_code)
    for shift in comparison.columns:
        if shift.verdict not in (None, "Stable"):
            print(f"{shift.column}: {shift.verdict} shift, PSI {shift.psi}, Jensen–Shannon {shift.jensen_shannon}")
    print(f"{len(comparison.schema_changes)} changes of the schema; the report is {given.out / 'comparison.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
