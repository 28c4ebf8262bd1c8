"""Brings the task's inputs in, one table each: fetches from S3, the web, volumes and other datasets, hashing all that comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import duckdb

from tidemill.contract.sources import HttpSource, S3Source, VolumeSource
from tidemill.contract.tasks import ArtifactRef, ResolvedInput
from tidemill_worker import log
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context
from tidemill_worker.data import http
from tidemill_worker.data.engine import quote
from tidemill_worker.data.formats import Files, local_name
from tidemill_worker.data.volume import Volume
from tidemill_worker.errors import AccessDenied, InvalidData, ObjectNotFound, TaskError
from tidemill_worker.store import Store, StoredObject

SPLITS = ("train", "validation", "test")
_AT_ONCE = 8


class Loader:
    """Brings inputs in.

    Parquet can be shown as a view instead of being copied into a table. User SQL can read no file, so the views are read before
    it runs, and `discard` drops them and the files below them.
    """

    def __init__(self, context: Context, connection: duckdb.DuckDBPyConnection) -> None:
        self.context, self.connection = context, connection
        self._views: dict[str, Files] = {}

    def input(self, item: ResolvedInput, index: int, *, view: bool = False) -> None:
        """Load one input that is no inference log. `view`: it will be read once only."""
        field, label = f"spec.inputs[{index}]", f"input {item.name}"
        if item.s3 is not None:
            self.s3(item.s3, item.name, field=f"{field}.s3", label=label, view=view)
        elif item.http is not None:
            self.http(item.http, item.name, field=f"{field}.http", label=label, view=view)
        elif item.volume is not None:
            self.volume(item.volume, item.name, field=f"{field}.volume", label=label, view=view)
        elif item.dataset is not None:
            self.dataset(item.dataset, item.name, label=label, view=view)

    def store_of(self, source: S3Source, field: str) -> Store:
        """The namespace's store, or the one that the input names."""
        credentials, secret = None, "the namespace's store Secret"
        if source.secret_name is not None:
            secret, keys = f"Secret {source.secret_name}", ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
            access, hidden = (self._secret(source.secret_name, key, " and ".join(keys), field) for key in keys)
            credentials = (access, hidden)
        if credentials is None and source.endpoint is None:
            return self.context.store
        return Store.connect(self.context.tracker, endpoint=source.endpoint, credentials=credentials, secret=secret)

    def _secret(self, secret: str, key: str, keys: str, field: str) -> str:
        """One value of a Secret that an input names."""
        try:
            return (self.context.environment.secret_dir / secret / key).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AccessDenied(f"{field}: Secret {secret} must hold {keys}", field=f"{field}.secretName") from error

    def objects(self, source: S3Source, *, field: str, label: str) -> tuple[Store, list[StoredObject]]:
        """What an S3 source stands for, and where it lies."""
        store = self.store_of(source, field)
        with _in_field(label, f"{field}.uri", f"{field}.secretName" if source.secret_name else f"{field}.uri"):
            return store, store.glob(source.uri)

    def s3(self, source: S3Source, table: str, *, field: str, label: str, view: bool = False) -> None:
        """Load the objects of an S3 source, by key."""
        store, objects = self.objects(source, field=field, label=label)
        with _in_field(label, f"{field}.uri", f"{field}.secretName" if source.secret_name else f"{field}.uri"):
            if not objects:
                raise ObjectNotFound(f"there is no object at {source.uri}")
            self.files(store, objects, source.format, table, label=label, view=view)

    def files(
        self, store: Store, objects: Sequence[StoredObject], form: str, table: str, *, label: str, view: bool = False
    ) -> None:
        """Download objects and load them into one table, in their order."""
        log.info("input found", input=label, files=len(objects), bytes=sum(o.size for o in objects))
        self._fetch(store.download, [o.uri for o in objects], form, table, label=label, view=view)

    def http(self, source: HttpSource, table: str, *, field: str, label: str, view: bool = False) -> None:
        """Load one file of a web server, if it has the hash that it should have."""
        authorization = None
        if source.secret_name is not None:
            authorization = self._secret(source.secret_name, "authorization", "authorization", field)
            if not authorization.isprintable():
                text = f"{field}: authorization in Secret {source.secret_name} must be one line of printable characters"
                raise AccessDenied(text, field=f"{field}.secretName")
        name, wanted = http.shown(source.url), source.sha256.lower()

        def fetch(_name: str, target: Path) -> str:
            tracker, stop = self.context.tracker, self.context.stop
            found = http.download(source.url, target, tracker=tracker, stop=stop, authorization=authorization)
            if found != wanted:
                target.unlink()
                text = f"{label}: {name} has sha256 {found}, not {wanted}: nothing of it is used; if its content is to change, "
                raise InvalidData(f"{text}say so in {field}.sha256", field=f"{field}.sha256")
            return found

        with _in_field(label, f"{field}.url", f"{field}.secretName" if source.secret_name else f"{field}.url"):
            self._fetch(fetch, [name], source.format, table, label=label, view=view)

    def volume_files(self, source: VolumeSource, *, field: str, label: str) -> tuple[Volume, list[str]]:
        """What a volume source stands for, and where it lies."""
        with _in_field(label, f"{field}.path", f"{field}.path"):
            volume = Volume(self.context, source.claim_name)
            return volume, volume.names(source.path)

    def volume(self, source: VolumeSource, table: str, *, field: str, label: str, view: bool = False) -> None:
        """Load files of a mounted claim, by name."""
        volume, found = self.volume_files(source, field=field, label=label)
        names = {volume.uri(name): name for name in found}

        def fetch(uri: str, target: Path) -> str:
            return volume.copy(names[uri], target)

        with _in_field(label, f"{field}.path", f"{field}.path"):
            if not names:
                raise ObjectNotFound(f"there is no file at {volume.uri(source.path)}")
            self._fetch(fetch, list(names), source.format, table, label=label, view=view)

    def dataset(self, ref: ArtifactRef, table: str, *, label: str, view: bool = False) -> None:
        """Load all splits of a dataset version, one after the other."""
        artifact = Artifact(self.context, ref, name=f"dataset-{table}")
        files = {artifact.fetch(f"{split}.parquet"): f"{ref.uri}/{split}.parquet" for split in SPLITS}
        self._load(Files(files, "parquet", label), table, view=view)

    def _fetch(
        self, fetch: Callable[[str, Path], str], names: Sequence[str], form: str, table: str, *, label: str, view: bool
    ) -> None:
        """Bring files here, note their hashes, and load them in the order of their names' list."""
        folder = self.context.folder("inputs", table)

        def one(job: tuple[int, str]) -> tuple[Path, str]:
            number, name = job
            target = folder / local_name(number, form, name)
            self.context.inputs[name] = "sha256:" + fetch(name, target)
            return target, name

        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            found = dict(pool.map(one, enumerate(names)))
        log.info("input read", input=label, files=len(found), bytes=sum(path.stat().st_size for path in found))
        self._load(Files(found, form, label), table, view=view)

    def _load(self, files: Files, table: str, *, view: bool) -> None:
        if view and files.form == "parquet":
            files.view(self.connection, table)
            self._views[table] = files
            return
        files.table(self.connection, table)
        _remove(files)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around what reads the views: a file that is bad is named."""
        try:
            yield
        except duckdb.OutOfMemoryException as error:
            raise MemoryError(str(error)) from error
        except duckdb.Error as error:
            for files in self._views.values():
                if bad := files.bad_file(self.connection):
                    raise bad from error
            raise

    def discard(self) -> None:
        """Drop the views and remove their files."""
        for table, files in self._views.items():
            self.connection.execute(f"DROP VIEW {quote(table)}")
            _remove(files)
        self._views.clear()


def _remove(files: Files) -> None:
    for path in files.names:
        path.unlink()


@contextmanager
def _in_field(label: str, address: str, credentials: str) -> Iterator[None]:
    """Say which input and which of its fields a failure is about, where the failure does not know."""
    try:
        yield
    except TaskError as error:
        if error.field is None and isinstance(error, ObjectNotFound | AccessDenied | InvalidData):
            where = credentials if isinstance(error, AccessDenied) else address
            message = error.message if error.message.startswith(label) else f"{label}: {error.message}"
            raise type(error)(message, field=where, reason=error.reason) from error
        raise
