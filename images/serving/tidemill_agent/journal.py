"""What a killed agent leaves to the next: which segments were counted, and which object each of their rows goes to.

Small files on the tap's volume, made and renamed whole, and not synced: they must outlive the process. They lie in a folder
of their own, for the server counts and names what lies beside its segments. A segment is known by its file's name and its
time of change, since a restarted server may use a name again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from tidemill_agent import log

FOLDER = "journal"
_COUNTED, _PLANNED, _SETTLED = ".counted", ".planned", ".settled"


def identity(path: Path) -> str:
    """What tells a segment from every other of this pod, also from a later one of the same name."""
    return f"{path.name}-{path.stat().st_mtime_ns}"


@dataclass(slots=True)
class Plan:
    """An object of the inference log: which segments' rows it holds, of those with this key."""

    uri: str
    key: str
    segments: set[str]
    settled: bool = False
    """Nothing is to be stored under this URI again: the store has it, or its rows were given up."""


class Journal:
    """One pod's journal; the inference log's lock guards all but `counted` and `count`."""

    def __init__(self, tap_dir: Path) -> None:
        self._folder = tap_dir / FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        self._plans: dict[str, Plan] = {}
        self._of: dict[tuple[str, str], Plan] = {}

    def counted(self, segment: str) -> bool:
        """Whether the segment's values were counted already."""
        return self._counted(segment).exists()

    def count(self, segment: str) -> None:
        """The segment's values are counted from now on.

        Said before they are: a kill in between loses a segment's counts, which is as if the sample were a little smaller.
        Said afterwards, a kill would count the segment twice, and drift scores would weigh its values double.
        """
        self._counted(segment).touch()

    def recover(self, present: set[str]) -> list[Plan]:
        """The plans that are not settled; forgets what is about segments that are gone. Once, before all else."""
        for path in sorted(self._folder.iterdir()):
            if path.suffix == _COUNTED and path.name.removesuffix(_COUNTED) in present:
                continue
            plan = _read(path) if path.suffix in (_PLANNED, _SETTLED) else None
            if plan is None or not plan.segments & present:
                path.unlink()
                continue
            # A segment that was dropped, to keep within the volume's limit, is missed: the object is stored without its rows.
            plan.segments &= present
            self._keep(plan)
        return [plan for plan in self._plans.values() if not plan.settled]

    def plan(self, uri: str, key: str, segments: set[str]) -> None:
        """These rows go to this object; said before the store is asked for the first time."""
        if uri in self._plans:
            return
        path = self._path(uri, _PLANNED)
        partial = path.with_suffix(".tmp")
        partial.write_text(json.dumps({"uri": uri, "key": key, "segments": sorted(segments)}))
        partial.rename(path)
        self._keep(Plan(uri, key, segments))

    def settle(self, uri: str) -> None:
        """The object is stored, or given up; said before any of its segments is removed."""
        plan = self._plans.get(uri)
        if plan is not None and not plan.settled:
            self._path(uri, _PLANNED).rename(self._path(uri, _SETTLED))
            plan.settled = True

    def planned(self, segment: str, key: str) -> Plan | None:
        """Where the segment's rows with this key belong, if that was said."""
        return self._of.get((segment, key))

    def forget(self, segment: str, keys: set[str]) -> None:
        """The segment was removed."""
        self._counted(segment).unlink(missing_ok=True)
        for plan in [found for key in keys if (found := self._of.pop((segment, key), None))]:
            plan.segments.discard(segment)
            if not plan.segments:
                del self._plans[plan.uri]
                self._path(plan.uri, _SETTLED if plan.settled else _PLANNED).unlink(missing_ok=True)

    def _keep(self, plan: Plan) -> None:
        self._plans[plan.uri] = plan
        self._of.update({(segment, plan.key): plan for segment in plan.segments})

    def _counted(self, segment: str) -> Path:
        return self._folder / f"{segment}{_COUNTED}"

    def _path(self, uri: str, suffix: str) -> Path:
        return self._folder / f"{hashlib.sha256(uri.encode()).hexdigest()[:32]}{suffix}"


def _read(path: Path) -> Plan | None:
    try:
        found = json.loads(path.read_text())
        return Plan(found["uri"], found["key"], set(found["segments"]), settled=path.suffix == _SETTLED)
    except (ValueError, KeyError, TypeError) as error:
        # Left half written when the node went down: its rows are planned anew.
        log.warn("a plan of the inference log is not readable and is removed", file=path.name, reason=repr(error))
        return None
