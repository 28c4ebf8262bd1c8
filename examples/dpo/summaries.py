"""Prints functions with a true and a false description as JSON lines: real sentences that are on this machine already.

python examples/dpo/summaries.py > summaries.jsonl
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator
from types import ModuleType

MODULES = (
    "numpy", "numpy.linalg", "numpy.fft", "numpy.ma", "numpy.polynomial.polynomial", "pyarrow.compute", "torch.nn.functional",
    "torch.optim.lr_scheduler", "torch.distributions", "torch.nn",
)  # fmt: skip
LONGEST = 160


def described(module: ModuleType) -> dict[str, tuple[str, str]]:
    """Of a module's public functions and classes by name: how they are called, and the first sentence of their docstring."""
    found = {}
    for name, member in sorted(vars(module).items()):
        if name.startswith("_") or not callable(member):
            continue
        try:
            parameters = ", ".join(inspect.signature(member).parameters)
        except (TypeError, ValueError):
            parameters = "x"
        paragraphs = [" ".join(part.split()) for part in (inspect.getdoc(member) or "").split("\n\n")]
        spoken = [part for part in paragraphs if part and "(" not in part.split()[0]]  # not how it is called
        sentence = re.split(r"(?<=[.])\s", spoken[0])[0] if spoken else ""
        if 20 <= len(sentence) <= LONGEST and sentence.endswith("."):
            found[name] = f"{module.__name__}.{name}({parameters[:80]})", sentence
    return found


def rows() -> Iterator[dict[str, str]]:
    """One row a function. The false sentence is that of the function whose name's hash follows its own, if it differs."""
    for name in MODULES:
        functions = described(importlib.import_module(name))
        order = sorted(functions, key=lambda member: hashlib.sha256(member.encode()).hexdigest())
        for own, other in zip(order, [*order[1:], order[0]], strict=True):
            call, true = functions[own]
            false = functions[other][1]
            if true != false:
                yield {"name": f"{name}.{own}", "prompt": f"{call}: ", "chosen": true, "rejected": false}


if __name__ == "__main__":
    for row in rows():
        sys.stdout.write(json.dumps(row) + "\n")
