"""The DuckDB connection that rows are prepared in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from tidemill_worker.data import engine


def test_chance_is_repeatable_and_settings_are_locked(tmp_path: Path) -> None:
    def draw() -> list[Any]:
        opened = engine.connect(tmp_path, 1 << 30)
        engine.lock(opened)
        values = opened.execute("SELECT random() FROM range(5)").fetchall()
        with pytest.raises(duckdb.Error):
            opened.execute("SET threads = 4")
        opened.close()
        return list(values)

    assert draw() == draw()
