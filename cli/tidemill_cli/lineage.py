"""Where a model version comes from: version → run → dataset versions → inputs. Pure, but for the readers that it is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tidemill.contract.manifest import Provenance

_DATASET = re.compile(r"s3://[^/]+/[^/]+/datasets/([^/]+)/[0-9a-f]{64}")
_SHOWN_FILES = 10

FindRun = Callable[[str], Mapping[str, Any] | None]
"""A TrainingRun by name; None when there is none."""
FindProvenance = Callable[[str], Provenance | None]
"""The provenance of the artifact in a folder; None when it cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One thing that a version comes from."""

    kind: str
    """ModelVersion, TrainingRun, Dataset, File, or Source of an imported model."""
    name: str
    digest: str | None = None
    uri: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """More that is known, in words."""
    inputs: tuple[Node, ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON has it; absent fields left out."""
        known: dict[str, Any] = {"kind": self.kind, "name": self.name, "digest": self.digest, "uri": self.uri}
        if self.facts:
            known["facts"] = dict(self.facts)
        if self.inputs:
            known["inputs"] = [node.document() for node in self.inputs]
        return {key: value for key, value in known.items() if value is not None}


def trace(version: Mapping[str, Any], find_run: FindRun, find_provenance: FindProvenance) -> Node:
    """The lineage of a ModelVersion. What neither API server nor store knows any more is left out or said to be gone."""
    spec, status = version["spec"], version.get("status") or {}
    artifact, origin = spec["artifact"], spec.get("origin") or {}
    made = find_provenance(artifact["uri"])
    facts = {
        "model": spec["model"], "version": spec["version"], "stage": status.get("stage"),
        "verified": bool(status.get("verifiedDigest")),
    }  # fmt: skip
    if made is not None and made.subject_digest != artifact["digest"]:
        facts["provenance"] = f"is of another artifact: {made.subject_digest}"
        made = None
    return Node(
        kind="ModelVersion",
        name=version["metadata"]["name"],
        digest=artifact["digest"],
        uri=artifact["uri"],
        facts={key: value for key, value in facts.items() if value is not None},
        inputs=_made_by(origin, made, find_run, find_provenance),
    )


def tree(node: Node) -> str:
    """The lineage for a terminal."""
    return "\n".join(_lines(node, "", ""))


def _made_by(
    origin: Mapping[str, Any], made: Provenance | None, find_run: FindRun, find_provenance: FindProvenance
) -> tuple[Node, ...]:
    data: tuple[Node, ...] = ()
    if origin.get("datasetUri"):
        data = (_dataset(origin["datasetUri"], origin.get("datasetDigest"), find_provenance, origin.get("dataset")),)
    elif made is not None:
        data = _inputs(made, find_provenance)
    if origin.get("trainingRun"):
        return (_run(origin, made, data, find_run),)
    if origin.get("source"):
        return (Node(kind="Source", name=origin["source"], inputs=data),)
    return data


def _run(origin: Mapping[str, Any], made: Provenance | None, data: tuple[Node, ...], find_run: FindRun) -> Node:
    name, uid = origin["trainingRun"], origin.get("trainingRunUid")
    run = find_run(name)
    facts: dict[str, Any] = {
        "image": (made.builder_image if made else "") or origin.get("image"),
        "config": origin.get("configDigest"),
    }
    if made is not None:
        facts |= {"seed": made.seed, "versions": made.versions or None}
    if run is None or (uid and run["metadata"]["uid"] != uid):
        facts["object"] = "deleted" if run is None else "another run has its name now"
    else:
        facts |= {key: (run.get("status") or {}).get(key) for key in ("startedAt", "finishedAt")}
    known = {key: value for key, value in facts.items() if value not in (None, "")}
    return Node(kind="TrainingRun", name=name, facts={**known, **({"uid": uid} if uid else {})}, inputs=data)


def _dataset(uri: str, digest: str | None, find_provenance: FindProvenance, name: str | None = None) -> Node:
    match = _DATASET.match(uri)
    made = find_provenance(uri)
    return Node(
        kind="Dataset",
        name=name or (match[1] if match else uri.rsplit("/", 1)[-1]),
        digest=digest,
        uri=uri,
        facts={} if made else {"provenance": "unknown"},
        inputs=_inputs(made, find_provenance) if made else (),
    )


def _inputs(made: Provenance, find_provenance: FindProvenance) -> tuple[Node, ...]:
    """What was read: dataset versions with what they come from in turn (digests cannot form a circle), then files."""
    read = sorted(made.inputs.items())
    return (
        *(_dataset(uri, digest, find_provenance) for uri, digest in read if _DATASET.fullmatch(uri)),
        *(
            Node(kind="File", name=uri.rsplit("/", 1)[-1], digest=digest, uri=uri)
            for uri, digest in read
            if not _DATASET.fullmatch(uri)
        ),
    )


def _lines(node: Node, first: str, rest: str) -> list[str]:
    title = node.uri if node.kind == "File" else node.name
    lines = [f"{first}{node.kind} {title}{f'  {node.digest[:19]}' if node.digest else ''}"]
    shown = [f"{key} {_words(value)}" for key, value in node.facts.items()]
    deeper = "│  " if node.inputs else "   "
    if shown:
        lines.append(f"{rest}{deeper}{', '.join(shown)}")
    files = [child for child in node.inputs if child.kind == "File"]
    hidden = set(map(id, files[_SHOWN_FILES:]))
    children = [child for child in node.inputs if id(child) not in hidden]
    for index, child in enumerate(children):
        last = index == len(children) - 1 and not hidden
        lines += _lines(child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))
    if hidden:
        lines.append(f"{rest}└─ … {len(hidden)} more files: -o json has them all")
    return lines


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key} {inner}" for key, inner in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)
