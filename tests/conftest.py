"""Options of the test run."""

from __future__ import annotations

import os

import hypothesis
import pytest

# Tests start programs while gRPC's threads run: its handlers of fork() would start these again in the child, before that is
# another program, and abort it now and then.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# A busy machine is no fault of an example: nothing here is judged by its time.
hypothesis.settings.register_profile("tidemill", deadline=None)
hypothesis.settings.load_profile("tidemill")


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "write tests/golden/*/*/plan.yaml anew, then look at the diff"
    parser.addoption("--update-golden", action="store_true", help=text)
