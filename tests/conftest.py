"""Options of the test run."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "write tests/golden/*/*/plan.yaml anew, then look at the diff"
    parser.addoption("--update-golden", action="store_true", help=text)
