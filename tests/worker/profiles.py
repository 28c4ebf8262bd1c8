"""Profiles of tables that tests make, without a store."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tidemill.contract.profile import ColumnProfile, Profile
from tidemill.contract.profiling import ProfileOptions
from tidemill.contract.split import Split
from tidemill_worker.data import engine
from tidemill_worker.data.split import split
from tidemill_worker.profile.build import Say, build


def profiled(
    table: pa.Table | dict[str, Any] | str,
    *,
    threads: int = 1,
    by: dict[str, Any] | None = None,
    say: Say = lambda _share, _words: None,
    **options: Any,
) -> Profile:
    """The profile of a table, or of what a SELECT gives, after the split that a Dataset would have."""
    with tempfile.TemporaryDirectory() as folder:
        connection = engine.connect(Path(folder), 1 << 30)
        connection.execute(f"SET threads = {threads}")
        if isinstance(table, str):
            connection.execute(f"CREATE TABLE raw AS {table}")
        else:
            given = table if isinstance(table, pa.Table) else pa.table(table)
            connection.register("given", given)
            connection.execute("CREATE TABLE raw AS FROM given")
        wish = Split.model_validate(by or {"random": {"validation": 0.2, "test": 0.2}})
        rows = split(connection, "raw", "rows", wish)
        types = engine.columns(connection, "raw")
        time = wish.by_time.column if wish.by_time is not None else None
        profile = build(
            connection, "rows", types, rows, ProfileOptions.model_validate(options), split_time=time, say=say
        )
        connection.close()
    return profile


def column(profile: Profile, name: str) -> ColumnProfile:
    """One column of a profile."""
    return next(each for each in profile.columns if each.name == name)


def kinds(profile: Profile, name: str | None = None) -> set[str]:
    """The kinds of alerts, of one column or of all."""
    return {alert.kind for alert in profile.alerts if name is None or alert.column == name}


def mixed(rows: int, seed: int = 0) -> dict[str, pa.Array]:
    """Every common type, with missing values."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(100, 15, rows)
    group = rng.integers(0, 4, rows)
    return {
        "normal": pa.array(normal, mask=rng.random(rows) < 0.1),
        "near": pa.array(normal * 2 + rng.normal(0, 3, rows)),
        "skewed": pa.array(rng.lognormal(0, 1.5, rows)),
        "whole": pa.array(rng.integers(-5, 40, rows)),
        "group": pa.array(np.array(["a", "b", "c", "d"])[group], mask=rng.random(rows) < 0.05),
        "same": pa.array(np.where(rng.random(rows) < 0.8, group, rng.integers(0, 4, rows)).astype(str)),
        "flag": pa.array(rng.random(rows) < 0.3),
        "text": pa.array([f"word {i % 97} of {i % 13}" for i in range(rows)]),
        "at": pa.array((1_600_000_000_000_000 + rng.integers(0, 86_400_000_000 * 50, rows)).astype("datetime64[us]")),
        "y": pa.array(normal + 10 * group + rng.normal(0, 5, rows)),
    }
