"""The published snapshot: whole, verified, readable at any moment, by old readers and new ones."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from integration.homes import Home, query

from orchestration.warehouse import publish, snapshot
from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.pending import note_days
from orchestration.warehouse.publish import PublishRefusedError

PUBLISHES, KILLS = 40, 16
# What a published file held before 1.2 could not be opened by drivers of that year.
OLD_CLIENT = "1.2.2"


@pytest.fixture
def small(tmp_path: Path) -> Home:
    """A warehouse of two tables that a run changes together, and a view on them."""
    home = Home.create(tmp_path / "home")
    home.write(
        "create schema marts",
        "create schema audit",
        "create table marts.entries as select i as id, 1 as run from range(20000) t(i)",
        "comment on table marts.entries is 'Entries.'",
        "comment on column marts.entries.run is 'Run; the same in every row.'",
        "create table marts.totals as select 20000 as entries, 1 as run",
        "create view marts.runs as select run, count(*) as entries from warehouse.marts.entries "
        "group by run",
        "comment on view marts.runs is 'Entries by run.'",
        "comment on column marts.runs.entries is 'How many.'",
        "create table audit.state (name varchar, value varchar)",
    )
    return home


def change(connection: duckdb.DuckDBPyConnection, run: int) -> None:
    connection.execute("begin")
    connection.execute(f"update marts.entries set run = {run}")
    connection.execute(f"update marts.totals set run = {run}")
    connection.execute("commit")


def versions(home: Home) -> list[str]:
    return sorted(path.name for path in (home.path / "published" / "versions").iterdir())


# ---------------------------------------------------------------- readers

# Connects anew through the link as fast as it can; one connection stays on what it opened first.
READER = """
import json, sys, time, duckdb
link, stop = sys.argv[1:]
import pathlib
kept = duckdb.connect(link, read_only=True)
opened = kept.execute("select run from marts.totals").fetchone()[0]
reads, last, problems, slowest = 0, 0, [], 0.0
print("ready", flush=True)
is_last = False
while not is_last:
    # Read once more after the last publish.
    is_last = pathlib.Path(stop).exists()
    begun = time.monotonic()
    try:
        with duckdb.connect(link, read_only=True) as connection:
            low, high, entries = connection.execute(
                "select min(run), max(run), count(*) from marts.entries").fetchone()
            total, run = connection.execute("select entries, run from marts.totals").fetchone()
    except Exception as error:
        problems.append(f"error: {error}")
        continue
    slowest = max(slowest, time.monotonic() - begun)
    reads += 1
    if (low, high, entries) != (run, run, total):
        problems.append(f"torn: {low} {high} {entries} {run} {total}")
    if run < last:
        problems.append(f"backwards: {run} after {last}")
    last = run
    if kept.execute("select min(run), max(run) from marts.entries").fetchone() != (opened, opened):
        problems.append("a kept connection moved")
print(json.dumps({"reads": reads, "last": last, "slowest": slowest, "problems": problems[:5]}))
"""


@pytest.fixture
def reader(small: Home, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    stop = tmp_path / "stop"
    with open_warehouse(small.runtime) as connection:
        publish.publish(connection, small.runtime)
    process = subprocess.Popen(
        [sys.executable, "-c", READER, str(small.published), str(stop)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process, stop
    process.kill()
    process.wait()


def finish(reader: tuple[subprocess.Popen[str], Path]) -> dict[str, object]:
    process, stop = reader
    stop.touch()
    output, _ = process.communicate(timeout=60)
    return json.loads(output)


def test_readers_are_never_blocked_and_never_see_half_a_run(
    small: Home, reader: tuple[subprocess.Popen[str], Path]
) -> None:
    with open_warehouse(small.runtime) as connection:
        for run in range(2, PUBLISHES + 2):
            change(connection, run)
            publish.publish(connection, small.runtime)
    seen = finish(reader)

    assert seen["problems"] == []
    assert seen["last"] == PUBLISHES + 1
    assert isinstance(seen["reads"], int)
    assert seen["reads"] > PUBLISHES
    assert isinstance(seen["slowest"], float)
    assert seen["slowest"] < 5


# Publishes until it is killed; says so before each, so that the killer knows it has begun.
PUBLISHER = """
import sys
from pathlib import Path
from orchestration.config import read_runtime
from orchestration.warehouse import publish, snapshot
from orchestration.warehouse.connection import open_warehouse
home = Path(sys.argv[1])
runtime = read_runtime(config=home / "tollbook.yml", home=home)
with open_warehouse(runtime) as connection:
    ((run,),) = connection.execute("select run from marts.totals").fetchall()
    while True:
        run += 1
        connection.execute("begin")
        connection.execute(f"update marts.entries set run = {run}")
        connection.execute(f"update marts.totals set run = {run}")
        connection.execute("commit")
        print(run, flush=True)
        publish.publish(connection, runtime)
"""


def test_killed_publishers_leave_a_good_version_and_the_next_publish_cleans_up(
    small: Home, reader: tuple[subprocess.Popen[str], Path]
) -> None:
    dice = random.Random(20261121)  # noqa: S311
    unfinished = 0
    for _ in range(KILLS):
        # In a session of its own: what is killed is this process and nothing else.
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, str(small.path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip().isdigit()
        time.sleep(dice.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()

        unfinished += any(name.endswith((".part", ".wal")) for name in versions(small))
        ((low, high, total),) = query(
            small.published,
            "select min(e.run), max(e.run), min(t.run) from marts.entries e, marts.totals t",
        )
        assert low == high == total

    with open_warehouse(small.runtime) as connection:
        change(connection, 10_000)
        publication = publish.publish(connection, small.runtime)
    seen = finish(reader)

    assert seen["problems"] == []
    assert isinstance(seen["last"], int)
    assert seen["last"] <= 10_000
    assert unfinished > 0, "no kill hit a publish at work: the test proves nothing"
    assert query(small.published, "select distinct run from marts.entries") == [(10_000,)]
    assert len(versions(small)) == 3
    assert all(name.endswith(".duckdb") for name in versions(small))
    assert small.published.resolve() == publication.path
    left = {path.name for path in (small.path / "published").iterdir()}
    assert left == {"versions", "manifest.json", "tollbook.duckdb"}


def test_three_versions_are_kept_and_a_reader_keeps_an_older_one(small: Home) -> None:
    with open_warehouse(small.runtime) as connection:
        publish.publish(connection, small.runtime)
        reader = duckdb.connect(str(small.published), read_only=True)
        for run in range(2, 6):
            change(connection, run)
            publish.publish(connection, small.runtime)

    kept = reader.execute("select distinct run from marts.entries").fetchall()
    reader.close()

    assert versions(small) == ["tollbook-3.duckdb", "tollbook-4.duckdb", "tollbook-5.duckdb"]
    assert kept == [(1,)]
    assert query(small.published, "select distinct run from marts.entries") == [(5,)]


def test_published_files_are_read_only_and_the_link_is_relative(small: Home) -> None:
    with open_warehouse(small.runtime) as connection:
        publication = publish.publish(connection, small.runtime)

    assert stat.S_IMODE(publication.path.stat().st_mode) == 0o440
    # A relative link survives when the home is mounted elsewhere.
    assert os.readlink(small.published) == "versions/tollbook-1.duckdb"  # noqa: PTH115
    moved = small.path.parent / "moved"
    shutil.move(small.path, moved)
    assert query(moved / "published" / "tollbook.duckdb", "select run from marts.totals") == [(1,)]
    with pytest.raises(duckdb.InvalidInputException, match="read-only"):
        duckdb.connect(str(moved / "published" / "tollbook.duckdb"), read_only=True).execute(
            "insert into marts.totals values (1, 1)"
        )


def test_snapshot_that_differs_from_its_source_is_refused(
    small: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_warehouse(small.runtime) as connection:
        publish.publish(connection, small.runtime)
        change(connection, 2)
        genuine = snapshot.fingerprint

        def see_one_row_less(
            connection: duckdb.DuckDBPyConnection, relation: str
        ) -> tuple[int, str]:
            rows, digest = genuine(connection, relation)
            return (rows - 1, digest) if relation == "snapshot.marts.entries" else (rows, digest)

        monkeypatch.setattr(snapshot, "fingerprint", see_one_row_less)
        with pytest.raises(PublishRefusedError, match=r"marts\.entries"):
            publish.publish(connection, small.runtime)
        monkeypatch.undo()

        assert query(small.published, "select run from marts.totals") == [(1,)]
        publication = publish.publish(connection, small.runtime)
    assert query(small.published, "select run from marts.totals") == [(2,)]
    assert versions(small) == ["tollbook-1.duckdb", publication.path.name]


def test_fingerprint_sees_a_changed_value_and_a_swap_between_rows(small: Home) -> None:
    with open_warehouse(small.runtime) as connection:
        before = publish.fingerprint(connection, "marts.entries")
        connection.execute("update marts.entries set run = run + 1 where id = 7")
        assert publish.fingerprint(connection, "marts.entries") != before
        connection.execute("update marts.entries set run = 1 where id = 7")
        assert publish.fingerprint(connection, "marts.entries") == before
        connection.execute(
            "create table pairs as select * from (values (1, 'a'), (2, 'b')) t(i, x)"
        )
        pairs = publish.fingerprint(connection, "pairs")
        connection.execute("update pairs set x = case x when 'a' then 'b' else 'a' end")
        assert publish.fingerprint(connection, "pairs") != pairs


def test_comments_of_tables_views_and_columns_go_with_them(small: Home) -> None:
    with open_warehouse(small.runtime) as connection:
        publish.publish(connection, small.runtime)

    assert query(
        small.published,
        "select comment from duckdb_tables() where comment is not null union all "
        "select comment from duckdb_views() where comment is not null and not internal union all "
        "select comment from duckdb_columns() where comment is not null order by all",
    ) == [("Entries by run.",), ("Entries.",), ("How many.",), ("Run; the same in every row.",)]


def test_manifest_says_what_the_published_version_holds(small: Home) -> None:
    with open_warehouse(small.runtime) as connection:
        publish.publish(connection, small.runtime)

    manifest = json.loads((small.path / "published" / "manifest.json").read_text())

    assert manifest["version"] == 1
    assert manifest["tables"].keys() == {"marts.entries", "marts.totals"}
    with duckdb.connect(str(small.published), read_only=True) as connection:
        for name, stated in manifest["tables"].items():
            rows, digest = publish.fingerprint(connection, name)
            assert (rows, digest) == (stated["rows"], stated["fingerprint"])


@pytest.mark.parametrize("path", ["my-warehouse.duckdb", "2026 spend.duckdb", "e.duckdb"])
def test_warehouse_file_may_have_any_name(small: Home, path: str) -> None:
    (small.path / "warehouse.duckdb").rename(small.path / path)
    settings = small.path / "tollbook.yml"
    settings.write_text(f'warehouse: {{path: "{path}"}}\n{settings.read_text()}')
    catalog = path.removesuffix(".duckdb")
    with open_warehouse(small.runtime) as connection:
        connection.execute("drop view marts.runs")
        connection.execute(
            "create view marts.runs as select e.run, count(*) as entries "
            f'from "{catalog}".marts.entries as e group by e.run'
        )

        publish.publish(connection, small.runtime)

    assert query(small.published, "select * from marts.runs") == [(1, 20_000)]


# ---------------------------------------------------------------- the example as readers see it


def test_every_published_table_and_column_of_the_marts_says_what_it_is(
    example_home: Home,
) -> None:
    silent = query(
        example_home.published,
        """
        select schema_name || '.' || table_name from duckdb_tables()
        where comment is null and schema_name in ('marts', 'exports', 'audit', 'reference')
        union all
        select schema_name || '.' || view_name from duckdb_views()
        where comment is null and not internal and schema_name in ('marts', 'exports')
        union all
        select concat_ws('.', schema_name, table_name, column_name) from duckdb_columns()
        where
            coalesce(comment, '') = ''
            and schema_name in ('marts', 'exports', 'audit', 'reference')
        order by all
        """,
    )

    assert silent == []


def test_what_readers_get_and_what_they_do_not(example_home: Home) -> None:
    schemas = query(
        example_home.published,
        "select distinct table_schema from information_schema.tables order by all",
    )
    private = query(
        example_home.published,
        "select table_name from information_schema.tables where table_name in "
        "('touched_days', 'state') or table_name like '%__dbt%'",
    )

    assert {schema for (schema,) in schemas} <= {"marts", "exports", "audit", "reference"}
    assert private == []


# Reads everything there is, through the link and by the real path, with whatever DuckDB it has.
OLD_READER = """
import json, sys, duckdb
found = {}
for path in sys.argv[1:]:
    with duckdb.connect(path, read_only=True) as connection:
        names = connection.execute(
            "select table_schema, table_name from information_schema.tables order by all"
        ).fetchall()
        counts = {
            f"{schema}.{name}": connection.execute(
                f'select count(*) from "{schema}"."{name}"').fetchone()[0]
            for schema, name in names
        }
        whole, lines = connection.execute(
            "select (select cast(sum(list_cost) as varchar) from marts.usage_records), "
            "(select cast(sum(list_cost) as varchar) from marts.cost_lines)").fetchone()
    found[path] = {"counts": counts, "usage_records": whole, "cost_lines": lines}
print(json.dumps({"version": duckdb.__version__, "found": list(found.values())}))
"""


@pytest.fixture(scope="session")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with a DuckDB of early 2025, as a BI driver may still hold it."""
    folder = tmp_path_factory.mktemp("old") / "venv"
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("uv is not installed beside this Python")
    python = folder / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    installed = subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", python, f"duckdb=={OLD_CLIENT}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if installed.returncode:
        last = (installed.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"duckdb {OLD_CLIENT} cannot be installed here: {last}")
    return python


@pytest.fixture
def rewritten_home(example_home: Home, tmp_path: Path) -> Home:
    """The example, published so often that each file was written day by day more than once."""
    home = example_home.copy(tmp_path / "home")
    for turn in range(9):
        with open_warehouse(home.runtime) as connection:
            day = f"2026-10-{turn + 1:02}"
            note_days(connection, [day])
            connection.execute(
                f"update marts.usage_records set latency_ms = {turn} "
                f"where usage_date = date '{day}'"
            )
            publication = publish.publish(connection, home.runtime)
    assert publication.derived_from == publication.version - 3
    return home


@pytest.mark.parametrize("which", ["example_home", "rewritten_home"])
def test_old_clients_read_every_table_and_view_through_link_and_path(
    which: str, old_python: Path, request: pytest.FixtureRequest
) -> None:
    example_home: Home = request.getfixturevalue(which)
    paths = [str(example_home.published), str(example_home.published.resolve())]

    done = subprocess.run(
        [old_python, "-c", OLD_READER, *paths], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["version"] == OLD_CLIENT
    through_link, by_path = answer["found"]
    assert through_link == by_path
    assert through_link["counts"] == {
        f"{schema}.{table}": query(
            example_home.published, f'select count(*) from "{schema}"."{table}"'
        )[0][0]
        for schema, table in query(
            example_home.published,
            "select table_schema, table_name from information_schema.tables",
        )
    }
    assert "marts.cost_lines" in through_link["counts"]
    assert through_link["cost_lines"] == through_link["usage_records"] == "18.509386050000000000"
