"""PruneDataset: remove the versions that the retention does not keep, the manifest of each first."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tidemill.contract.canonical import short
from tidemill.contract.durations import format_time
from tidemill.contract.manifest import MANIFEST
from tidemill.contract.results import PruneResult
from tidemill.contract.retention import DatedVersion, superfluous
from tidemill.contract.tasks import PruneDataset
from tidemill_worker import log
from tidemill_worker.context import Context
from tidemill_worker.store import StoredObject

ABANDONED = timedelta(days=1)
"""A folder without a manifest that nobody has written to for so long was left by an upload or a removal that was cut off."""


@dataclass(slots=True)
class _Stored:
    """What lies in a version's folder."""

    objects: list[StoredObject] = field(default_factory=list)
    manifest: StoredObject | None = None


def run(task: PruneDataset, context: Context) -> PruneResult:
    """Remove them one after the other. Whoever is interrupted leaves no half of one: a folder without a manifest does not
    exist for readers, and the next run removes what is left of it."""
    context.tracker.phase("Listing", 0.1, task.root)
    now = datetime.now(UTC)
    folders = _folders(task.root, context)
    known = {version.digest for version in task.versions}
    forgotten = [
        DatedVersion(digest=digest, prepared_at=format_time(stored.manifest.modified))
        for digest, stored in folders.items()
        if stored.manifest is not None and digest not in known
    ]
    newest_first = sorted([*task.versions, *forgotten], key=lambda version: version.prepared_at, reverse=True)
    doomed = superfluous(task.retention, newest_first, protected=task.protected, now=now)
    removed = 0
    for number, digest in enumerate(doomed):
        context.stop.check()
        context.tracker.phase("Removing", number / len(doomed), f"version {short(digest)}")
        removed += _remove(folders.get(digest, _Stored()), context)
    for digest, stored in folders.items():
        if (
            stored.manifest is None
            and digest not in known
            and all(now - o.modified > ABANDONED for o in stored.objects)
        ):
            _remove(stored, context)
    return PruneResult(removed=removed, gone=tuple(digest for digest in doomed if digest in known))


def _folders(root: str, context: Context) -> dict[str, _Stored]:
    """What there is of every version, by its digest; nothing else that lies under the root is looked at."""
    name = re.compile(re.escape(root.rstrip("/")) + r"/([0-9a-f]{64})/(.+)")
    found: dict[str, _Stored] = {}
    for item in context.store.objects(root.rstrip("/") + "/"):
        if match := name.fullmatch(item.uri):
            stored = found.setdefault(f"sha256:{match[1]}", _Stored())
            if match[2] == MANIFEST:
                stored.manifest = item
            else:
                stored.objects.append(item)
    return found


def _remove(stored: _Stored, context: Context) -> bool:
    """The manifest first: from then on nobody finds the rest. Whether there was one."""
    if stored.manifest is not None:
        context.store.delete(stored.manifest.uri)
    for item in stored.objects:
        context.store.delete(item.uri)
    log.info("version removed", manifest=stored.manifest.uri if stored.manifest else None, files=len(stored.objects))
    return stored.manifest is not None
