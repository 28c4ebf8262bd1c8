"""Earlier versions of the dataset that is being prepared, for comparisons: read by a database of their own, as the one that
ran the user's SQL may read no files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import duckdb

from tidemill.contract.canonical import short
from tidemill.contract.expectations import PREVIOUS
from tidemill.contract.tasks import ArtifactRef
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context
from tidemill_worker.data import engine
from tidemill_worker.data.engine import literal
from tidemill_worker.errors import InvalidSpec

SPLITS = ("train", "validation", "test")


class EarlierVersion:
    """One version; its files are downloaded when they are first read."""

    def __init__(self, context: Context, ref: ArtifactRef) -> None:
        self._context, self.ref = context, ref

    @cached_property
    def artifact(self) -> Artifact:
        """Its files, checked. Raises ObjectNotFound when they are not there any more."""
        return Artifact(self._context, self.ref, name="earlier version")

    @property
    def name(self) -> str:
        """In messages: `version 0123456789ab`."""
        return f"version {short(self.ref.digest)}"

    @property
    def source(self) -> str:
        """All its rows, as what stands after FROM. Raises ObjectNotFound and ArtifactCorrupt."""
        return parquet([self.artifact.fetch(f"{split}.parquet") for split in SPLITS])

    @contextmanager
    def database(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A database that may read files, with little memory: what does not fit spills."""
        connection = engine.connect(self._context.folder("earlier-spill"), 0)
        try:
            yield connection
        finally:
            connection.close()


class EarlierVersions:
    """The versions that the task was given, each read once."""

    def __init__(self, context: Context, previous: ArtifactRef | None, fixed: Sequence[ArtifactRef]) -> None:
        self._context = context
        self._refs = {ref.digest: ref for ref in fixed} | ({PREVIOUS: previous} if previous else {})
        self._found: dict[str, EarlierVersion] = {}

    def __call__(self, against: str) -> EarlierVersion | None:
        """The version that `against` means: None when there is no previous one. Raises InvalidSpec for an unknown digest."""
        ref = self._refs.get(against)
        if ref is None:
            if against != PREVIOUS:
                raise InvalidSpec(f"there is no earlier version {against}", field="spec.expectations")
            return None
        if ref.digest not in self._found:
            self._found[ref.digest] = EarlierVersion(self._context, ref)
        return self._found[ref.digest]


def parquet(files: Sequence[Path]) -> str:
    """Files as what stands after FROM, one after the other."""
    return f"read_parquet([{', '.join(literal(str(path)) for path in files)}], hive_partitioning = false)"
