"""Published files taking turns: only what changed is written, and never into a file in use."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from integration.homes import Home, query

from orchestration.warehouse import publish, spare
from orchestration.warehouse.connection import open_warehouse
from orchestration.warehouse.pending import note_days
from orchestration.warehouse.publish import Publication
from orchestration.warehouse.schema import create_audit_table
from orchestration.warehouse.transform import DAY_MARTS, write_state

DAYS, ROWS = 8, 500


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A warehouse of a mart of eight days, a small mart without days, and a view on both."""
    home = Home.create(tmp_path / "home")
    with open_warehouse(home.runtime) as connection:
        for statement in (
            "create schema marts",
            "create table marts.usage as select date '2026-10-01' + cast(i // 500 as integer) "
            "as usage_date, i as id, cast(i as decimal(38, 18)) / 7 as billed_cost "
            "from range(4000) t(i)",
            "create table marts.prices as select 'm' as model, 1 as price",
            "create view marts.spend as select usage_date, sum(billed_cost) as billed_cost "
            "from warehouse.marts.usage group by usage_date",
            "comment on column marts.usage.id is 'Number.'",
        ):
            connection.execute(statement)
        for name in ("state", "pending_days"):
            create_audit_table(connection, name)
        write_state(connection, DAY_MARTS, json.dumps(["marts.usage"]))
    return home


def change_day(connection: duckdb.DuckDBPyConnection, day: str) -> None:
    note_days(connection, [day])
    connection.execute(
        f"update marts.usage set billed_cost = billed_cost + 1 where usage_date = date '{day}'"
    )


def publish_change(home: Home, *days: str) -> Publication:
    with open_warehouse(home.runtime) as connection:
        for day in days:
            change_day(connection, day)
        return publish.publish(connection, home.runtime)


def raise_if_different(home: Home) -> None:
    """The published file holds what the warehouse holds, row by row and in its views."""
    for relation in ("marts.usage", "marts.prices", "marts.spend"):
        sql = f"select * from {relation} order by all"
        assert query(home.published, sql) == home.query(sql)


def inode(path: Path) -> int:
    return path.stat().st_ino


def test_three_files_take_turns_and_get_only_the_days_that_changed(home: Home) -> None:
    first = publish_change(home)
    files = [inode(first.path)]
    for day in ("2026-10-01", "2026-10-08"):
        files.append(inode(publish_change(home, day).path))
    assert len(set(files)) == 3

    for turn in range(6):
        publication = publish_change(home, f"2026-10-0{turn + 2}")

        assert publication.version == turn + 4
        assert publication.derived_from == turn + 1
        assert inode(publication.path) == files[turn % 3]
        # Since the version this file held, three days changed: two of them published elsewhere.
        assert publication.rows_written <= 3 * ROWS
        raise_if_different(home)
        assert len(list((home.path / "published" / "versions").iterdir())) == 3


def test_nothing_is_written_where_nothing_changed(home: Home) -> None:
    for _ in range(3):
        publish_change(home)

    assert publish_change(home).rows_written == 0
    raise_if_different(home)


def test_another_table_is_written_whole_and_the_days_are_left_alone(home: Home) -> None:
    publish_change(home)
    home.write("update marts.prices set price = 2")

    assert publish_change(home).rows_written == 1
    raise_if_different(home)


@pytest.mark.parametrize(
    "statements",
    [
        ["alter table marts.prices add column tier varchar"],
        ["alter table marts.prices rename column price to unit_price"],
        ["create table marts.invoices as select 1 as invoice"],
        ["drop table marts.prices", "create table marts.prices as select 1.5 as price"],
        ["comment on column marts.usage.id is 'Another meaning.'"],
        ["comment on table marts.usage is 'Usage.'"],
        ["drop view marts.spend", "create view marts.spend as select 1 as billed_cost"],
    ],
)
def test_a_changed_definition_reaches_readers(home: Home, statements: list[str]) -> None:
    publish_change(home)
    home.write(*statements)

    publication = publish_change(home)

    assert publication.derived_from == 1
    assert publication.rows_written <= 1
    raise_if_different(home)
    described = (
        "select schema_name, table_name, column_name, data_type, comment from duckdb_columns() "
        "where schema_name = 'marts' order by all"
    )
    assert query(home.published, described) == home.query(described)


def test_a_table_that_is_no_more_is_no_more_published(home: Home) -> None:
    publish_change(home)
    home.write("drop table marts.prices")

    assert publish_change(home).derived_from == 1
    assert query(home.published, "select table_name from duckdb_tables() order by 1") == [
        ("usage",)
    ]


def test_rows_gained_or_lost_on_another_day_than_noted_are_found(home: Home) -> None:
    publish_change(home)
    home.write("delete from marts.usage where usage_date = date '2026-10-03' and id % 2 = 0")

    publish_change(home, "2026-10-05")

    raise_if_different(home)


def test_a_full_refresh_writes_only_what_it_changed(home: Home) -> None:
    publish_change(home)
    with open_warehouse(home.runtime) as connection:
        note_days(connection, None)
        connection.execute(
            "update marts.usage set id = -1 where id = (select max(id) from marts.usage)"
        )
        publication = publish.publish(connection, home.runtime)

    assert publication.rows_written == ROWS
    raise_if_different(home)


def test_a_change_of_most_rows_is_written_whole(home: Home) -> None:
    publish_change(home)

    publication = publish_change(home, *(f"2026-10-0{day}" for day in range(1, 7)))

    assert publication.derived_from is None
    raise_if_different(home)


# ---------------------------------------------------------------- whoever has a file open


@contextmanager
def process(*command: str | Path, **options: object) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


DUCKDB_READER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
print("ready", flush=True)
for _ in sys.stdin:
    print(connection.execute("select sum(billed_cost) from marts.usage").fetchone()[0], flush=True)
"""
PLAIN_READER = """
import hashlib, sys
file = open(sys.argv[1], "rb")
print("ready", flush=True)
for _ in sys.stdin:
    file.seek(0)
    print(hashlib.sha256(file.read()).hexdigest(), flush=True)
"""


def ask(reader: subprocess.Popen[str]) -> str:
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write("?\n")
    reader.stdin.flush()
    return reader.stdout.readline()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(DUCKDB_READER, id="a session of DuckDB"),
        pytest.param(
            PLAIN_READER,
            id="a copy in progress",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="no leases but on Linux"),
        ),
    ],
)
def test_a_file_that_any_process_holds_is_never_written_however_long(
    home: Home, script: str
) -> None:
    held = publish_change(home)
    with process(sys.executable, "-c", script, home.published) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        before, number = ask(reader), inode(held.path)

        derived = []
        for day in range(1, 8):
            publication = publish_change(home, f"2026-10-0{day}")
            derived.append(publication.derived_from)
            assert inode(publication.path) != number

        assert ask(reader) == before
    # Even so nothing was written whole: a copy of version 3 took the place of the held file.
    assert derived == [1, 2, 3, 2, 3, 4, 5]
    raise_if_different(home)


def test_a_file_held_by_this_process_is_never_written(home: Home) -> None:
    publish_change(home)
    total = "select sum(billed_cost) from marts.usage"
    with duckdb.connect(str(home.published), read_only=True) as reader:
        before = reader.execute(total).fetchall()
        for day in range(1, 6):
            publish_change(home, f"2026-10-0{day}")

        assert reader.execute(total).fetchall() == before
    raise_if_different(home)


def test_files_are_told_apart_by_locks_where_there_are_no_leases(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(spare.fcntl, "F_SETLEASE")
    path = publish_change(home).path

    assert not spare.is_held(path)
    with duckdb.connect(str(path), read_only=True):
        assert spare.is_held(path)
    with process(sys.executable, "-c", DUCKDB_READER, path) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        assert spare.is_held(path)
    assert not spare.is_held(path)
    assert path.stat().st_mode & 0o777 == 0o440


# ---------------------------------------------------------------- kills and damage

# Publishes once, and is gone at the moment the named function is reached or has returned.
KILLED = """
import os, sys
from pathlib import Path
import orchestration.warehouse.publish as publish, orchestration.warehouse.snapshot as snapshot
import orchestration.warehouse.spare as spare
from orchestration.config import read_runtime
from orchestration.warehouse.connection import open_warehouse
home, module, name, when = sys.argv[1:]
owner = {"publish": publish, "snapshot": snapshot, "spare": spare}[module]
genuine = getattr(owner, name)
def fatal(*args, **kwargs):
    if when == "before":
        os._exit(9)
    genuine(*args, **kwargs)
    os._exit(9)
setattr(owner, name, fatal)
runtime = read_runtime(config=Path(home) / "tollbook.yml", home=Path(home))
with open_warehouse(runtime) as connection:
    publish.publish(connection, runtime)
"""
STEPS = [
    ("spare", "take_spare", "before"),
    ("spare", "take_spare", "after"),
    ("snapshot", "_replace_parts", "after"),
    ("snapshot", "_copy_views", "after"),
    ("snapshot", "_verify", "before"),
    ("publish", "_sync", "before"),
    ("publish", "_write_books", "before"),
    ("publish", "_write_books", "after"),
    ("publish", "_write_manifest", "before"),
    ("publish", "_flip", "before"),
    ("publish", "_flip", "after"),
    ("publish", "_retire", "before"),
]


@pytest.mark.parametrize(("module", "name", "when"), STEPS)
def test_a_kill_at_any_step_leaves_the_old_version_or_the_new_one(
    home: Home, module: str, name: str, when: str
) -> None:
    for day in range(1, 4):
        publish_change(home, f"2026-10-0{day}")
    old = query(home.published, "select sum(billed_cost) from marts.usage")
    with open_warehouse(home.runtime) as connection:
        change_day(connection, "2026-10-04")
    new = home.query("select sum(billed_cost) from marts.usage")

    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(home.path), module, name, when],
        check=False,
        capture_output=True,
        text=True,
    )

    assert killed.returncode == 9, killed.stderr
    is_new = (name, when) in {("_flip", "after"), ("_retire", "before")}
    found = query(home.published, "select sum(billed_cost) from marts.usage")
    assert found == (new if is_new else old)
    # The day changed before the kill was never taken up elsewhere; the next publish has it.
    again = publish_change(home, "2026-10-05")
    raise_if_different(home)
    assert again.version == (4 if (name, when) not in AFTER_NAMING else 5)
    folder = home.path / "published" / "versions"
    assert all(path.name.endswith(".duckdb") for path in folder.iterdir())
    assert len(list(folder.iterdir())) in (2, 3)
    publish_change(home, "2026-10-06")
    raise_if_different(home)


AFTER_NAMING = {
    ("_write_manifest", "before"),
    ("_flip", "before"),
    ("_flip", "after"),
    ("_retire", "before"),
}


def damage_value(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("update marts.usage set billed_cost = 0 where id = 3999")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


@pytest.mark.parametrize("spoil", [damage_value, cut])
def test_a_file_that_is_not_what_was_published_is_not_written_on(
    home: Home, spoil: Callable[[Path], None]
) -> None:
    for day in range(1, 4):
        publish_change(home, f"2026-10-0{day}")
    oldest = home.path / "published" / "versions" / "tollbook-1.duckdb"
    oldest.chmod(0o640)
    spoil(oldest)

    publication = publish_change(home, "2026-10-04")

    assert publication.derived_from == 3
    raise_if_different(home)


def test_a_damaged_file_that_looks_untouched_is_written_anew(home: Home) -> None:
    for day in range(1, 4):
        publish_change(home, f"2026-10-0{day}")
    oldest = home.path / "published" / "versions" / "tollbook-1.duckdb"
    status = oldest.stat()
    oldest.chmod(0o640)
    content = bytearray(oldest.read_bytes())
    for place in range(4096 * 3, len(content), 997):
        content[place] ^= 1
    oldest.write_bytes(content)
    os.utime(oldest, ns=(status.st_atime_ns, status.st_mtime_ns))

    publication = publish_change(home, "2026-10-04")

    assert publication.derived_from is None
    raise_if_different(home)


def test_a_warehouse_that_has_forgotten_its_versions_publishes_whole(home: Home) -> None:
    publish_change(home)
    home.write("delete from audit.snapshots", "delete from audit.snapshot_parts")

    publication = publish_change(home, "2026-10-04")

    assert (publication.version, publication.derived_from) == (2, None)
    raise_if_different(home)


# ---------------------------------------------------------------- many turns

WATCHER = """
import os, sys, time
link, stop = sys.argv[1:]
print("ready", flush=True)
looks, last, problems = 0, 0, []
while not (looks % 256 == 0 and os.path.exists(stop)):
    looks += 1
    try:
        version = int(os.readlink(link).rpartition("-")[2].partition(".")[0])
        os.stat(link)
    except OSError as error:
        problems.append(f"missing: {error}")
        continue
    if version < last:
        problems.append(f"backwards: {version} after {last}")
    last = version
print(looks, last, problems[:3])
"""


def test_the_link_is_never_missing_and_never_goes_back(home: Home, tmp_path: Path) -> None:
    publish_change(home)
    stop = tmp_path / "stop"
    with process(sys.executable, "-c", WATCHER, home.published, stop) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "ready\n"
        for turn in range(25):
            publish_change(home, f"2026-10-0{turn % 8 + 1}")
        stop.touch()
        looks, last, problems = watcher.stdout.readline().strip().split(" ", 2)

    assert problems == "[]"
    assert int(last) == 26
    assert int(looks) > 1000


def test_any_sequence_of_changes_readers_and_refreshes_ends_in_what_the_warehouse_holds(
    home: Home,
) -> None:
    dice = random.Random(20261121)  # noqa: S311
    readers: list[tuple[duckdb.DuckDBPyConnection, object]] = []
    publish_change(home)
    kinds = set()
    for turn in range(40):
        with open_warehouse(home.runtime) as connection:
            for _ in range(dice.randrange(4)):
                change_day(connection, f"2026-10-0{dice.randrange(8) + 1}")
            if dice.random() < 0.2:
                day = f"2026-10-{dice.randrange(9, 30):02}"
                note_days(connection, [day])
                connection.execute(
                    f"insert into marts.usage select date '{day}', {turn}, 1 from range(50)"
                )
            if dice.random() < 0.2:
                connection.execute(f"update marts.prices set price = {turn}")
            if dice.random() < 0.1:
                note_days(connection, None)
            publication = publish.publish(connection, home.runtime)
        kinds.add(publication.derived_from is not None)
        raise_if_different(home)
        if dice.random() < 0.4:
            reader = duckdb.connect(str(home.published), read_only=True)
            readers.append((reader, reader.execute("from marts.spend order by all").fetchall()))
        if readers and dice.random() < 0.3:
            readers.pop(dice.randrange(len(readers)))[0].close()
        for reader, seen in readers:
            assert reader.execute("from marts.spend order by all").fetchall() == seen
    assert kinds == {True}
    for reader, _ in readers:
        reader.close()


def test_publishing_waits_for_no_reader(home: Home) -> None:
    """However many hold files open, a publish goes on."""
    publish_change(home)
    readers = []
    begun = time.monotonic()
    for turn in range(6):
        readers.append(duckdb.connect(str(home.published), read_only=True))
        publish_change(home, f"2026-10-0{turn + 1}")
    assert time.monotonic() - begun < 60
    for reader in readers:
        reader.close()
    raise_if_different(home)
