"""From inputs to the rows of a version: what is read when, and the user's SQL or steps.

User SQL must not reach files, so all files are read before it runs. What is only appended is read once, straight from its
parquet files, by a statement in which nothing is the user's; what SQL, a join or an expectation looks at is a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from tidemill.contract.steps import Step
from tidemill.contract.tasks import PrepareDataset
from tidemill_worker.data import engine, steps
from tidemill_worker.data.engine import quote
from tidemill_worker.data.sources import Loader
from tidemill_worker.data.sql import select_into
from tidemill_worker.data.union import union
from tidemill_worker.errors import InvalidSpec

UNION = "_tidemill_union"


@dataclass(frozen=True, slots=True)
class Transformation:
    """A task's transform over its inputs' tables; makes the table `result`."""

    result: str
    sql: str | None
    steps: tuple[Step, ...]
    appended: tuple[str, ...]
    """Inputs whose rows the steps begin with, or that are all there is. None for SQL, which takes its rows itself."""
    looked_at: frozenset[str]
    """Inputs that SQL or a join reads."""
    checked: frozenset[str]
    """Inputs that an expectation reads."""
    done: int = 0
    """How many of the steps were applied where the rows were read."""

    @classmethod
    def of(cls, task: PrepareDataset, result: str) -> Transformation:
        """Raises InvalidSpec for a join with what is no input, or when joins leave nothing to begin with."""
        names = [item.name for item in task.inputs]
        sql = task.transform.sql if task.transform else None
        made = task.transform.steps or () if task.transform else ()
        joined = {}
        for index, step in enumerate(made):
            if step.join is not None:
                joined[step.join.input] = field = f"spec.transform.steps[{index}].join.input"
                if step.join.input not in names:
                    text = f"{field}: there is no input {step.join.input!r}; the inputs are {', '.join(names)}"
                    raise InvalidSpec(text, field=field)
        appended = () if sql is not None else tuple(name for name in names if name not in joined)
        if sql is None and not appended:
            field = joined[names[0]]
            raise InvalidSpec(f"{field}: every input is joined: there are no rows to join them to", field=field)
        looked_at = frozenset(joined if sql is None else names)
        checked = frozenset(e.referential.input for e in task.expectations if e.referential is not None)
        return cls(result, sql, tuple(made), appended, looked_at, checked)

    def read_once(self, name: str) -> bool:
        """Whether an input is appended and nothing else."""
        return name not in self.looked_at | self.checked

    def gather(self, loader: Loader) -> None:
        """Append what is to be appended, and remove the files: the last that may read them."""
        if self.sql is None:
            with loader.reading():
                union(loader.connection, self.appended, self.begin)
        loader.discard()
        _forget(loader.connection, set(self.appended) - self.looked_at - self.checked)

    @property
    def begin(self) -> str:
        """The table that the steps that are left begin with; without any, the result."""
        return UNION if self.done < len(self.steps) else self.result

    def apply(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Run the user's SQL or steps. Raises InvalidSpec when no column comes of it."""
        if self.sql is not None:
            select_into(connection, self.sql, self.result)
        elif self.done < len(self.steps):
            steps.apply(connection, self.steps, UNION, self.result, first=self.done)
        kinds = engine.columns(connection, self.result)
        if not kinds:
            raise InvalidSpec("the transform gives no column", field="spec.transform")
        if self.sql is not None or self.steps:  # what is only read has none: files are cleaned as they are loaded
            _forget_nan(connection, self.result, kinds)
        _forget(connection, {UNION, *self.looked_at} - self.checked)


def _forget_nan(connection: duckdb.DuckDBPyConnection, table: str, kinds: Mapping[str, str]) -> None:
    """NaN is a missing value, also where the transform made it, as 0 / 0 does: else it would pass for one that is there."""
    floats = [quote(name) for name, kind in kinds.items() if kind in ("FLOAT", "DOUBLE")]
    if not floats:
        return
    seen = engine.first_row(
        connection, f"SELECT {', '.join(f'bool_or(isnan({n}))' for n in floats)} FROM {quote(table)}"
    )
    if found := [name for name, any_ in zip(floats, seen or (), strict=True) if any_]:
        changes = ", ".join(f"{name} = CASE WHEN NOT isnan({name}) THEN {name} END" for name in found)
        connection.execute(f"UPDATE {quote(table)} SET {changes} WHERE {' OR '.join(f'isnan({n})' for n in found)}")


def _forget(connection: duckdb.DuckDBPyConnection, names: set[str]) -> None:
    """Drop those of these tables that there are: nothing reads them any more, and others need their place."""
    there = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    engine.drop(connection, *sorted(names & there))
