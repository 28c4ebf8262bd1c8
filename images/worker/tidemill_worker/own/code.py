"""The code of a script trainer: from a ConfigMap or a git repository into `<work dir>/code`, the same in every pod of a run.

The file that the run's first pod saw is kept at `<run root>/code/<its digest>.py`, and `source.json` beside it names it. Later
pods of the run take a ConfigMap's file from there: an edit of the ConfigMap changes nothing for a run that has begun.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import Field, ValidationError

from tidemill.contract.base import Document
from tidemill.contract.layout import join
from tidemill.contract.names import CODE_FOLDER
from tidemill.contract.trainers import ScriptTrainer
from tidemill.contract.trainers.script import ConfigMapKey
from tidemill_worker import log
from tidemill_worker.context import Context, fresh_folder
from tidemill_worker.errors import (
    ArtifactCorrupt,
    ConfigMapMissing,
    InvalidData,
    ObjectNotFound,
    ScriptError,
)

SOURCE = "source.json"
FIELD = "spec.trainer.script"
LARGEST = 1 << 20
"""Bytes of the file: as many as a ConfigMap can hold."""


class Source(Document):
    """`source.json`: what a run runs."""

    uri: str
    """Where it is from: `configmap:<namespace>/<name>/<key>`, or `git+<url>@<commit>#<path>`."""
    version: str
    """The digest of the ConfigMap's file, or the commit."""
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    """Of the file itself."""


def lay_out(script: ScriptTrainer, run_root: str, namespace: str, context: Context) -> Source:
    """Put the code into `<work dir>/code`, record it for the run, and say what it is.

    Raises ScriptError, InvalidData for another content than was asked for, ObjectNotFound, AccessDenied, SourceUnavailable
    and ConfigMapMissing.
    """
    folder = fresh_folder(context.environment.work_dir / CODE_FOLDER)
    if (git := script.git) is not None:
        from tidemill_worker.own.git import check_out  # the only use of dulwich

        check_out(git, folder, context)
        body = _small(folder / git.path)
        found = Source(uri=f"git+{git.url}@{git.revision}#{git.path}", version=git.revision, digest=_digest(body))
    else:
        assert script.config_map is not None, "the schema asks for exactly one source"
        body = _kept(run_root, context) or _mounted(script.config_map, context)
        digest = _checked(body, script.config_map)
        uri = f"configmap:{namespace}/{script.config_map.name}/{script.config_map.key}"
        found = Source(uri=uri, version=digest, digest=digest)
    if script.image is None:  # another image may have another Python
        _compile(body, script)
    source, body = _keep(found, body, run_root, context)
    (folder / script.path).write_bytes(body)
    return source


def recorded(run_root: str, context: Context) -> tuple[Source, bytes] | None:
    """What the run runs, None when that was not recorded yet. Raises ArtifactCorrupt."""
    said = context.store.read_or_none(join(run_root, CODE_FOLDER, SOURCE))
    if said is None:
        return None
    try:
        source = Source.model_validate_json(said)
        body = context.store.read(_place(run_root, source))
    except (ValidationError, ObjectNotFound) as error:
        raise ArtifactCorrupt(f"the recorded code of the run cannot be read: {error}") from error
    if _digest(body) != source.digest:
        raise ArtifactCorrupt(f"{_place(run_root, source)} was changed")
    return source, body


def _kept(run_root: str, context: Context) -> bytes | None:
    before = recorded(run_root, context)
    if before is None:
        return None
    log.info("the run's code is what its first pod saw", digest=before[0].digest)
    return before[1]


def _keep(found: Source, body: bytes, run_root: str, context: Context) -> tuple[Source, bytes]:
    """Record it unless another pod was first: of those that begin together one decides for all."""
    context.store.put(_place(run_root, found), body, media_type="text/x-python")
    context.store.put_if_absent(join(run_root, CODE_FOLDER, SOURCE), found.to_json().encode())
    kept = recorded(run_root, context)
    assert kept is not None, "it was just written"
    if kept[0].version == found.version and kept[0].digest != found.digest:
        raise ArtifactCorrupt(f"{found.uri} is not what it was for the run's first pod: the commit has two contents")
    return kept


def _place(run_root: str, source: Source) -> str:
    return join(run_root, CODE_FOLDER, f"{source.digest.removeprefix('sha256:')}.py")


def _mounted(source: ConfigMapKey, context: Context) -> bytes:
    field = f"{FIELD}.configMap"
    path = context.environment.task_file.parent / CODE_FOLDER / source.key
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigMapMissing(
            f"ConfigMap {source.name} does not exist in the run's namespace, or has no key {source.key}: create it, for "
            f"example by kubectl create configmap {source.name} --from-file={source.key}",
            field=field,
        ) from error


def _checked(body: bytes, source: ConfigMapKey) -> str:
    found = _digest(body)
    if source.digest is not None and found != source.digest:
        raise InvalidData(
            f"{source.key} of ConfigMap {source.name} has the digest {found}, not {source.digest} as "
            f"{FIELD}.configMap.digest asks for: the ConfigMap was changed, or the digest is of another file",
            field=f"{FIELD}.configMap.digest",
        )
    return found


def _small(path: Path) -> bytes:
    size = path.stat().st_size
    if size > LARGEST:
        raise InvalidData(
            f"{path.name} has {size} bytes, more than {LARGEST}: move what is long into a module beside it", field=FIELD
        )
    return path.read_bytes()


def _compile(body: bytes, script: ScriptTrainer) -> None:
    """Whether it is Python at all, before the dataset is downloaded and a GPU is held for it."""
    try:
        compile(body, script.path, "exec", dont_inherit=True)
    except SyntaxError as error:
        line = f", line {error.lineno}, column {error.offset}" if error.lineno else ""
        text = f": {error.text.strip()}" if error.text else ""
        raise ScriptError(f"{script.path}{line}: {error.msg}{text}", field=FIELD) from error
    except ValueError as error:  # null bytes
        raise ScriptError(f"{script.path} is no Python: {error}", field=FIELD) from error


def _digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()
