"""Prints the docstrings of numpy, scikit-learn and torch as JSON lines: real text that is on this machine already.

python examples/text/docstrings.py > docstrings.jsonl
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from types import ModuleType

MODULES = {
    "numpy": ("numpy", "numpy.linalg", "numpy.fft", "numpy.random", "numpy.ma", "numpy.polynomial"),
    "sklearn": (
        "sklearn.cluster", "sklearn.decomposition", "sklearn.ensemble", "sklearn.linear_model", "sklearn.metrics",
        "sklearn.model_selection", "sklearn.preprocessing", "sklearn.feature_extraction.text", "sklearn.svm", "sklearn.utils",
    ),
    "torch": ("torch.nn", "torch.nn.functional", "torch.optim", "torch.linalg", "torch.utils.data", "torch.distributions"),
}  # fmt: skip
LONGEST = 1500


def described(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Names and docstrings of a module's public functions and classes, and of the classes' methods."""
    for name, member in sorted(vars(module).items()):
        if name.startswith("_") or not (inspect.isclass(member) or callable(member)):
            continue
        yield f"{module.__name__}.{name}", inspect.getdoc(member) or ""
        if inspect.isclass(member):
            for method, function in sorted(vars(member).items()):
                if not method.startswith("_") and callable(function):
                    yield f"{module.__name__}.{name}.{method}", inspect.getdoc(function) or ""


def rows() -> Iterator[dict[str, str]]:
    """One row a docstring; many say nearly the same, as real text does."""
    for library, modules in MODULES.items():
        for name in modules:
            for member, text in described(importlib.import_module(name)):
                if text:
                    yield {"name": member, "library": library, "text": text[:LONGEST]}


if __name__ == "__main__":
    for row in rows():
        sys.stdout.write(json.dumps(row) + "\n")
