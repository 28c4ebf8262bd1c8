"""User SQL and the expressions of steps reach no file, network, setting or extension: attacks, and what must stay possible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tidemill.contract.steps import Step
from tidemill_worker.data import engine, steps
from tidemill_worker.data.sql import select_into
from tidemill_worker.errors import InvalidSpec

SECRET = "the-secret"
READS = [
    "'{file}'", '"{file}"', "read_csv('{file}')", "read_csv_auto('{file}')", "read_text('{file}')", "read_blob('{file}')",
    "read_json('{file}')", "read_json_auto('{file}')", "read_ndjson_objects('{file}')", "read_parquet('{parquet}')",
    "parquet_scan('{parquet}')", "'{parquet}'", "parquet_metadata('{parquet}')", "parquet_schema('{parquet}')",
    "parquet_kv_metadata('{parquet}')", "sniff_csv('{file}')", "glob('{folder}/*')", "read_duckdb('{database}')",
    "read_blob('{database}')", "read_text('{spill}')", "glob('{spill}*')", "query('SELECT * FROM read_text(''{file}'')')",
    "query_table('{file}')", "query('SELECT 1')",
    "json_execute_serialized_sql(json_serialize_sql('SELECT * FROM read_text(''{file}'')'))",
    "range(1) r(i), read_text('{file}' || r.i)", "read_text(['{file}'])",
    # network and extensions
    "'https://example.com/x.csv'", "read_csv('http://127.0.0.1:9/x.csv')", "'s3://tidemill/ready'",
    "read_parquet('s3://tidemill/ready')", "sqlite_scan('{file}', 't')", "postgres_scan('host=h', 'public', 't')",
    "st_read('x')", "read_xlsx('x')", "iceberg_scan('x')", "delta_scan('x')",
    # Python's and Arrow's objects
    "tbl", "arrow_scan(1, 1, 1)", "arrow_scan_dumb(1, 1, 1)", "pandas_scan(1)", "python_arrow_scan(1)",
    "python_map_function((SELECT 1))", "connection",
    # settings, secrets, logs, the catalogue
    "duckdb_settings()", "duckdb_secrets()", "which_secret('s3://x', 's3')", "duckdb_databases()", "duckdb_extensions()",
    "duckdb_logs()", "duckdb_temporary_files()", "duckdb_external_file_cache()", "duckdb_external_resources()",
    "duckdb_variables()", "create_external_resource('x')", "register_external_resource('x', 'y')", "enable_logging()",
    "checkpoint()", "force_checkpoint()", "pragma_database_size()", "pragma_storage_info('a')",
    "information_schema.tables", "duckdb_tables", "pg_catalog.pg_settings", "sqlite_master", "system.main.duckdb_tables",
    "(SHOW TABLES)", "(DESCRIBE a)", "(SUMMARIZE a)",
]  # fmt: skip
"""After FROM."""
SELECTS = [
    "WITH x AS (COPY a TO '{folder}/out.csv') SELECT 1", "WITH x AS (COPY a TO '{database}') SELECT 1",
    "WITH x AS (COPY a TO '{spill}out.csv') SELECT 1", "WITH x AS (COPY (SELECT 1) TO '{folder}/o.parquet') FROM a",
    "WITH x AS (INSERT INTO a VALUES (99, 'y') RETURNING *) SELECT * FROM x",
    "WITH x AS (DELETE FROM a RETURNING *) FROM x", "WITH x AS (UPDATE a SET id = 1 RETURNING *) FROM x",
    "SELECT (SELECT content FROM read_text('{file}'))",
    "SELECT id FROM a ORDER BY (SELECT content FROM read_text('{file}'))",
    "SELECT 1 UNION ALL SELECT size FROM read_blob('{file}')", "WITH x AS MATERIALIZED (FROM read_text('{file}')) FROM x",
    "SELECT * FROM a WHERE EXISTS (FROM read_text('{file}'))", "SELECT getenv('HOME')",
    "SELECT current_setting('temp_directory')", "SELECT getvariable('x')", "SELECT write_log('x')",
    "SELECT read_text('{file}')",
    # a name that WITH gives elsewhere in the statement
    "SELECT * FROM pg_settings, (WITH pg_settings AS (SELECT 1) FROM pg_settings) x",
    "WITH pg_settings AS (SELECT * FROM pg_settings) FROM pg_settings",
    "WITH RECURSIVE pg_settings AS (SELECT * FROM pg_settings) FROM pg_settings",
    "WITH RECURSIVE t AS (SELECT name FROM duckdb_views UNION ALL SELECT name FROM t WHERE false) FROM t",
    "WITH x AS (FROM sqlite_master), sqlite_master AS (SELECT 1) FROM x",
]  # fmt: skip
STATEMENTS = [
    "COPY a TO '{folder}/out.csv'", "COPY a FROM '{file}'", "COPY FROM DATABASE tables TO x",
    "ATTACH '{folder}/y.db' AS y", "DETACH tables", "USE tables", "INSTALL httpfs", "LOAD httpfs",
    "EXPORT DATABASE '{folder}/e'", "IMPORT DATABASE '{folder}/e'", "PRAGMA database_list",
    "SET enable_external_access = true", "RESET lock_configuration", "SET VARIABLE x = 1", "CALL checkpoint()",
    "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')", "CREATE TABLE q AS SELECT 1",
    "CREATE MACRO f() AS TABLE SELECT 1", "DROP TABLE a", "DELETE FROM a", "INSERT INTO a VALUES (1, 'x')", "VACUUM",
    "EXPLAIN ANALYZE SELECT 1", "DESCRIBE '{file}'", "SUMMARIZE '{file}'", "PREPARE p AS SELECT 1", "EXECUTE p", "BEGIN",
    "CHECKPOINT", "SELECT 1; COPY a TO '{folder}/out.csv'", "PIVOT a ON s", "SELECT 1) TO '{folder}/out.csv'; --",
    "SHOW ALL TABLES",
]  # fmt: skip

Prepared = tuple[duckdb.DuckDBPyConnection, dict[str, str]]


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[Prepared]:
    """A locked database with the table `a`, and files that nothing may read."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text(f"a,b\n1,{SECRET}\n")
    connection = engine.connect(tmp_path / "inside", 1 << 30)
    connection.execute("CREATE TABLE a AS SELECT range AS id, 'x' AS s FROM range(10)")
    connection.execute(f"COPY a TO '{outside}/secret.parquet' (FORMAT parquet)")
    engine.lock(connection)
    tbl = pa.table({"x": [1]})  # a replacement scan would find it by its name
    yield (
        connection,
        {
            "file": str(outside / "secret.csv"),
            "parquet": str(outside / "secret.parquet"),
            "folder": str(outside),
            "database": str(tmp_path / "inside" / "tables.duckdb"),
            "spill": str(tmp_path / "inside" / "spill") + "/",
        },
    )
    assert tbl.num_rows == 1
    assert sorted(p.name for p in outside.iterdir()) == ["secret.csv", "secret.parquet"], "something was written"
    assert connection.execute("SELECT count(*), sum(id) FROM a").fetchall() == [(10, 45)], "an input was changed"
    connection.close()


def told(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace("{" + name + "}", value)
    return text


def refused(run: Callable[[], Any]) -> InvalidSpec:
    with pytest.raises(InvalidSpec) as caught:
        run()
    assert caught.value.reason == "SQLError"
    assert SECRET not in caught.value.message
    return caught.value


@pytest.mark.parametrize("attack", [*(f"SELECT * FROM {read}" for read in READS), *SELECTS, *STATEMENTS])
def test_an_attack_by_sql_fails(prepared: Prepared, attack: str) -> None:
    connection, names = prepared
    error = refused(lambda: select_into(connection, told(attack, names), "out"))
    assert error.field == "spec.transform.sql"
    assert not connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name IN ('out', 'q')").fetchall()


STEPS: dict[str, Callable[[str], dict[str, Any]]] = {
    "filter.where": lambda text: {"filter": {"where": text}},
    "derive.expression": lambda text: {"derive": {"column": "z", "expression": text}},
    "deduplicate.orderBy": lambda text: {"deduplicate": {"columns": ["s"], "orderBy": text}},
    "window.orderBy": lambda text: {"window": {"function": "rowNumber", "orderBy": text, "output": "n"}},
    "deduplicateText.orderBy": lambda text: {"deduplicateText": {"column": "s", "orderBy": text}},
}


@pytest.mark.parametrize("field", STEPS)
def test_an_attack_by_an_expression_fails(prepared: Prepared, field: str) -> None:
    connection, names = prepared
    attacks = [f"(SELECT count(*) FROM {read}) > 0" for read in READS if not read.startswith("(")]
    attacks += [f"({select}) IS NOT NULL" for select in SELECTS]
    attacks += [f"true); {statement}; SELECT (true" for statement in STATEMENTS]
    attacks += ["id) TO '{folder}/x.csv'; --", "id /*", "id -- \n); COPY a TO '{folder}/x.csv'; --"]
    for attack in attacks:
        step = Step.model_validate(STEPS[field](told(attack, names)))
        error = refused(lambda step=step: steps.apply(connection, [step], "a", "out"))  # type: ignore[misc]
        assert error.field == f"spec.transform.steps[0].{field}"


@pytest.mark.parametrize(
    "sql",
    [
        "FROM a", "TABLE a", "SELECT * FROM main.a", 'SELECT "A".id FROM A',
        "WITH x AS (SELECT id FROM a) FROM x JOIN a USING (id)",
        "WITH x AS (FROM a), y AS (FROM x), x2 AS (SELECT (SELECT max(id) FROM y) AS m) FROM x2, (WITH z AS (FROM y) FROM z)",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT * FROM t",
        "SELECT * FROM a, range(3) r(i)", "SELECT unnest([1, 2]) AS x", "FROM generate_series(1, 3)", "VALUES (1), (2)",
        "SELECT * FROM a ASOF JOIN a b USING (s, id)", "SELECT (SELECT max(id) FROM a) AS m",
        "SELECT count(*) AS n FROM a GROUP BY ALL", "UNPIVOT (SELECT id, id + 1 AS j FROM a) ON id, j",
        "SELECT '{\"a\": 1}'::JSON->>'a' AS j", "SELECT a.* EXCLUDE (s) FROM a;",
        "SELECT list_transform([1], lambda x: x + 1) AS l",
        "SELECT * FROM a QUALIFY row_number() OVER (ORDER BY id) < 3 -- end",
        "SELECT 'COPY a TO ''x''; read_text(y)' AS t", "SELECT id AS current_setting FROM a",
    ],
)  # fmt: skip
def test_honest_sql_works(prepared: Prepared, sql: str) -> None:
    connection, _ = prepared
    select_into(connection, sql, "out")
    assert engine.count(connection, "out") > 0


def test_the_place_of_what_may_not_be_named(prepared: Prepared) -> None:
    connection, names = prepared
    error = refused(lambda: select_into(connection, told("SELECT 'é', id\nFROM a, read_text('{file}')", names), "out"))
    assert error.message.startswith(
        "spec.transform.sql: line 2, column 9: read_text may not be used: SQL sees the inputs as"
    )
    step = Step.model_validate(STEPS["filter.where"]("id >\n (SELECT max(x) FROM elsewhere)"))
    error = refused(lambda: steps.apply(connection, [step], "a", "out"))
    assert error.message.startswith(
        "spec.transform.steps[0].filter.where: line 2, column 22: there is no table elsewhere"
    )


def test_the_engine_alone_keeps_files_and_settings_closed(prepared: Prepared) -> None:
    """The second wall: should the first miss something, DuckDB itself opens no file and changes no setting."""
    connection, names = prepared
    inner = ("{database}", "{spill}")  # its own files stay open to DuckDB: these are the first wall's matter
    for read in READS[:27]:
        if not any(name in read for name in inner) and "query('SELECT 1')" not in read:
            with pytest.raises(duckdb.Error):
                connection.execute(told(f"SELECT * FROM {read}", names)).fetchall()
    for statement in (
        *STATEMENTS[:4],
        *STATEMENTS[6:10],
        "SET threads = 4",
        "SET lock_configuration = false",
        SELECTS[0],
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(told(statement, names)).fetchall()
