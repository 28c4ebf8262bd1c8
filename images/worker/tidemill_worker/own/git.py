"""A git repository at one commit, over https, without a git binary (dulwich; protocol v2, one commit deep).

A commit's hash stands for everything below it. Every object that is written is therefore hashed again here, from the commit
that the spec names down to the last file: neither server nor transport can put other content in its place.
"""

from __future__ import annotations

import difflib
import hashlib
import shutil
import ssl
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import urllib3
from dulwich.client import HTTPUnauthorized, Urllib3HttpGitClient
from dulwich.errors import GitProtocolError, NotGitRepository
from dulwich.objects import Commit, ObjectID, ShaFile, Tree
from dulwich.refs import Ref
from dulwich.repo import BaseRepo, Repo

from tidemill.contract.trainers.script import GIT_KEYS, GitSource
from tidemill_worker import log
from tidemill_worker.context import Context
from tidemill_worker.data.http import WAITS, shown, translated
from tidemill_worker.errors import (
    AccessDenied,
    ArtifactCorrupt,
    InvalidData,
    ObjectNotFound,
    SourceUnavailable,
    TaskError,
)

FIELD = "spec.trainer.script.git"
_SHALLOW = 1
_NOT_THERE = "not our ref"
_ALL_REFS = (b"refs/heads/", b"refs/tags/")


def check_out(source: GitSource, folder: Path, context: Context) -> None:
    """Lay the commit's files into the folder. Symbolic links and submodules are left out.

    Raises ObjectNotFound for a repository, commit or path that does not exist, AccessDenied, SourceUnavailable, InvalidData
    for what is no repository, ArtifactCorrupt for content that does not have its hash.
    """
    context.tracker.phase("Downloading", 0.05, shown(source.url))
    credentials = _credentials(source, context)
    form = "sha256" if len(source.revision) == 64 else "sha1"
    clone = context.folder("clone")
    with closing(Repo.init_bare(str(clone), object_format=form)) as repo:
        _fetch(source, repo, credentials, context)
        paths = _write(repo, _commit(source, repo), folder)
    shutil.rmtree(clone)
    if source.path not in paths:
        raise _no_such_path(source, paths)


def _write(repo: Repo, commit: Commit, folder: Path) -> list[str]:
    """The commit's files, and their paths."""
    left_out, paths = 0, []
    for path, mode, oid in _files(repo, commit.tree, Path()):
        if not stat.S_ISREG(mode):
            left_out += 1
            continue
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_verified(repo, oid).as_raw_string())
        target.chmod(0o755 if mode & 0o100 else 0o644)
        paths.append(path.as_posix())
    if left_out:
        log.warn("symbolic links and submodules of the repository are left out", number=left_out)
    return paths


def _fetch(source: GitSource, repo: Repo, credentials: tuple[str, str] | None, context: Context) -> None:
    waits = iter(WAITS)
    while True:
        try:
            return _try(source, repo, credentials)
        except SourceUnavailable as error:
            wait = next(waits, None)
            if wait is None:
                raise
            log.warn("fetching is tried again", url=shown(source.url), error=error.message)
            context.stop.event.wait(wait)
            context.stop.check()


def _try(source: GitSource, repo: Repo, credentials: tuple[str, str] | None) -> None:
    """One commit; from a server that does not give single commits away, everything that its branches and tags lead to."""
    timeout = urllib3.Timeout(connect=5, read=60)
    headers = {"User-Agent": "git/tidemill"}  # some servers answer with a page to what does not call itself git
    with urllib3.PoolManager(ssl_context=ssl.create_default_context(), timeout=timeout, headers=headers) as pool:
        username, password = credentials or (None, None)
        client = Urllib3HttpGitClient(source.url, pool_manager=pool, username=username, password=password)
        try:
            client.fetch("", repo, _Wanted(ObjectID(source.revision.encode())), depth=_SHALLOW, ref_prefix=[b"HEAD"])
            return
        except GitProtocolError as error:
            if _NOT_THERE in str(error) or _spoken_by_http(error):
                raise _told(error, source) from error
            # An old server gives no single commits away; git's own backend hangs up on what it does not have.
            log.info("the commit alone cannot be fetched: all branches are", error=str(error))
        except Exception as error:
            raise _told(error, source) from error
        try:
            client.fetch("", repo, _Wanted(), ref_prefix=_ALL_REFS)
        except Exception as error:
            raise _told(error, source) from error


@dataclass(frozen=True)
class _Wanted:
    """What is asked for, in the shape in which dulwich asks: one object, or all that the server's references name."""

    one: ObjectID | None = None

    def __call__(self, refs: Mapping[Ref, ObjectID], depth: int | None = None) -> list[ObjectID]:
        del depth
        return sorted(set(refs.values())) if self.one is None else [self.one]


def _spoken_by_http(error: GitProtocolError) -> bool:
    """Whether it never came to speaking git: no connection, or a status that is not 200."""
    return isinstance(error.__cause__, urllib3.exceptions.HTTPError) or "http resp" in str(error)


def _told(error: Exception, source: GitSource) -> TaskError:
    """What went wrong, in the user's terms: is another try worth it?"""
    url = shown(source.url)
    match error:
        case TaskError():
            return error
        case MemoryError():
            raise error
        case HTTPUnauthorized():
            way_out = f"check {' and '.join(GIT_KEYS)} in Secret {source.secret_name}" if source.secret_name else (
                f"name a Secret with {' and '.join(GIT_KEYS)} in {FIELD}.secretName"
            )  # fmt: skip
            return AccessDenied(f"the server refused access to {url}: {way_out}", field=f"{FIELD}.secretName")
        case NotGitRepository():
            return ObjectNotFound(
                f"there is no git repository at {url}: check {FIELD}.url, or whether it is private and needs secretName",
                field=f"{FIELD}.url",
            )
        case GitProtocolError() if isinstance(error.__cause__, urllib3.exceptions.MaxRetryError):
            return translated(error.__cause__.reason or error.__cause__, url)
        case GitProtocolError() if _NOT_THERE in str(error):
            return _no_such_commit(source)
        case GitProtocolError() if "http resp 403" in str(error):
            return AccessDenied(f"the server refused access to {url} (403)", field=f"{FIELD}.secretName")
        case GitProtocolError() | OSError() | urllib3.exceptions.HTTPError():
            return SourceUnavailable(f"{url} cannot be fetched: {error}")
        case _:  # whatever a parser raises on bytes that are no protocol
            said = f"{type(error).__name__}: {error}"
            return InvalidData(f"{url} does not answer as a git repository does ({said})", field=f"{FIELD}.url")


def _commit(source: GitSource, repo: Repo) -> Commit:
    oid = ObjectID(source.revision.encode())
    if oid not in repo.object_store:
        raise _no_such_commit(source)
    found = _verified(repo, oid)
    if not isinstance(found, Commit):
        raise InvalidData(
            f"{source.revision} is a {found.type_name.decode()}, no commit: write what git rev-parse 'NAME^{{commit}}' prints",
            field=f"{FIELD}.revision",
        )
    return found


def _files(repo: BaseRepo, tree: ObjectID, folder: Path) -> Iterator[tuple[Path, int, ObjectID]]:
    """Path, mode and hash of everything in a tree that is no folder."""
    found = _verified(repo, tree)
    if not isinstance(found, Tree):
        raise ArtifactCorrupt(
            f"{tree.decode()} is no folder, though the repository's {folder.as_posix()} is said to be it"
        )
    for entry in found.iteritems():
        name, mode, oid = cast("tuple[bytes, int, ObjectID]", entry)  # of a tree all three are there
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name or name.lower() == b".git":
            raise InvalidData(
                f"the repository has an entry named {name!r} in {folder.as_posix()}, which git never makes"
            )
        path = folder / name.decode("utf-8", "backslashreplace")
        if stat.S_ISDIR(mode):
            yield from _files(repo, oid, path)
        else:
            yield path, mode, oid


def _verified(repo: BaseRepo, oid: ObjectID) -> ShaFile:
    """An object whose bytes have the hash by which it was asked for."""
    try:
        found = repo.object_store[oid]
    except KeyError as error:
        raise ArtifactCorrupt(f"the server left out object {oid.decode()} of the commit") from error
    body = found.as_raw_string()
    hashed = (hashlib.sha256 if len(oid) == 64 else hashlib.sha1)(found.type_name + b" %d\0" % len(body) + body)
    if hashed.hexdigest().encode() != oid:
        raise ArtifactCorrupt(f"object {oid.decode()} of the repository does not have its hash")
    return found


def _credentials(source: GitSource, context: Context) -> tuple[str, str] | None:
    if source.secret_name is None:
        return None
    folder = context.environment.secret_dir / source.secret_name
    try:
        username, password = ((folder / key).read_text().strip() for key in GIT_KEYS)
    except OSError as error:
        raise AccessDenied(
            f"Secret {source.secret_name} does not exist or lacks {' or '.join(GIT_KEYS)}: a repository's Secret has both",
            field=f"{FIELD}.secretName",
        ) from error
    return username, password


def _no_such_commit(source: GitSource) -> ObjectNotFound:
    return ObjectNotFound(
        f"{shown(source.url)} has no commit {source.revision}: check {FIELD}.revision, and whether it was pushed",
        field=f"{FIELD}.revision",
    )


def _no_such_path(source: GitSource, paths: list[str]) -> ObjectNotFound:
    near = difflib.get_close_matches(source.path, paths, n=3, cutoff=0.5) or [p for p in paths if p.endswith(".py")][:5]
    hint = f"it has {', '.join(near)}" if near else "it has no Python file"
    return ObjectNotFound(
        f"commit {source.revision} of {shown(source.url)} has no file {source.path}: {hint}", field=f"{FIELD}.path"
    )
