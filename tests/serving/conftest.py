"""Fixtures: the backend, built once, and servers that run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.serving.tapped import Tapped
from tests.serving.triton import Triton, build_backend


@pytest.fixture(scope="session")
def library() -> Path:
    """libtriton_onnxruntime.so, built from the tree."""
    return build_backend()


@pytest.fixture(scope="session")
def triton(library: Path) -> Iterator[Triton]:
    """A server without a tap that all tests of a session share: each adds models of its own names."""
    with Triton(library) as server:
        yield server


@pytest.fixture
def tapped(library: Path, tmp_path: Path) -> Iterator[Callable[..., Tapped]]:
    """Makes servers with a tap, each with a tap folder of its own: `tapped(default=1.0, TIDEMILL_TAP_MAX_BYTES=…)`."""
    with ExitStack() as stack:

        def start(**settings: float | str) -> Tapped:
            folder = tmp_path / f"tap-{len(list(tmp_path.iterdir()))}"
            return stack.enter_context(Tapped(library, folder, settings))

        yield start
