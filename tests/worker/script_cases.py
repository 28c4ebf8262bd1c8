"""What the tests of a user's Python file share."""

from __future__ import annotations

import hashlib

import pytest

from tidemill_worker.errors import (
    TaskError,
)

from .lab import Lab
from .samples import Document

TRAIN = "import json\nprint('trains')\n"


def fetching(lab: Lab, script: Document, data: Document | None = None) -> Document:
    return {
        "type": "FetchDataset",
        "dataset": data or {"uri": f"{lab.root}/datasets/none", "digest": "sha256:" + "0" * 64},
        "script": {"target": "arr_delay", **script},
        "runRoot": f"{lab.root}/runs/own/uid",
    }


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def refused(lab: Lab, kind: type[TaskError], script: Document) -> TaskError:
    with pytest.raises(kind) as caught:
        lab.run(fetching(lab, script))
    assert not lab.list("runs/"), "nothing is recorded of code that cannot run"
    assert str(lab.work) not in caught.value.message, "a path of the pod says nothing to the user"
    assert (caught.value.field or "").startswith("spec.trainer.script")
    return caught.value
