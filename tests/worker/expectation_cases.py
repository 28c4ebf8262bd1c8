"""What the tests of expectations share."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill_worker.errors import TaskError

from .lab import Lab

Document = dict[str, Any]


def wish(**fields: Any) -> Document:
    return {"name": "wish", **fields}


def report(lab: Lab, uri: str) -> Document:
    document: Document = lab.get_json(f"{uri}/expectations.json")
    return document


def refused(lab: Lab, kind: type[TaskError], document: Document) -> TaskError:
    with pytest.raises(kind) as caught:
        lab.run(document)
    assert not [n for n in lab.list("datasets/") if n.endswith("manifest.json")], "nothing may be published"
    return caught.value
