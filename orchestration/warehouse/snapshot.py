"""What a published file holds, part by part: written whole or by what changed, and verified."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import duckdb

from orchestration.warehouse.connection import quoted
from orchestration.warehouse.pending import EVERY_DAY, PUBLISH, pending_days
from orchestration.warehouse.transform import DAY_MARTS

PUBLISHED_SCHEMAS = ("marts", "exports", "audit", "reference")
# Bookkeeping of the pipeline that says nothing to a reader.
PRIVATE = frozenset(
    f"audit.{name}"
    for name in (
        "touched_days",
        "state",
        "pending_days",
        "snapshots",
        "snapshot_parts",
        "day_totals",
        "used_price_sets",
        "check_days",
    )
)
# DuckDB 1.2 and later open this; BI drivers lag behind the engine.
STORAGE_VERSION = "v1.2.0"
_ORDER = {
    "marts.usage_records": "usage_date, gateway, started_at, request_id, occurrence",
    "marts.audit_trail": "usage_date, gateway, started_at, request_id, occurrence",
}
# Tables that grow without being marts of days: by what their rows stay together.
_PART_BY = {
    "audit.load_batches": "left(load_batch_id, 2)",
    "audit.quarantine": "left(load_batch_id, 2)",
    "audit.row_flags": "left(load_batch_id, 2)",
    "audit.runs": "cast(started_at as date)",
    "marts.exceptions": "billing_month",
    # A model met first brings its sets of every date; the others' stay.
    "marts.price_sets": "price_model",
    "marts.price_snapshots": "model",
}
_AMOUNTS = ("billed_cost", "list_cost", "gateway_cost", "amount_at_stake")
_DAY = "usage_date"


class PublishRefusedError(RuntimeError):
    """The snapshot differs from its source; readers keep the last good version."""


@dataclass(frozen=True, slots=True)
class Part:
    """What the rows of one part of a table add up to.

    Attributes:
        amount: Sum of the table's first money column; None without one, or where none is known.
        fingerprint: Hash of the rows that does not depend on their order; parts add up.
    """

    rows: int
    amount: Decimal | None
    fingerprint: int


# By table, then by part; a table that is one part has the part ''.
Parts = dict[str, dict[str, Part]]


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the catalog describes it: (name, type, comment) by column."""

    columns: tuple[tuple[str, str, str | None], ...]
    comment: str | None

    @property
    def shape(self) -> list[tuple[str, str]]:
        """Names and types, which decide whether rows of one table fit the other."""
        return [(name, kind) for name, kind, _ in self.columns]

    @property
    def amount(self) -> str:
        """SQL of the money a row stands for."""
        names = {name for name, kind in self.shape if kind.startswith("DECIMAL")}
        return next((name for name in _AMOUNTS if name in names), "null")


def named(name: str) -> str:
    """The name as an SQL identifier; a catalog is called like its file."""
    return '"' + name.replace('"', '""') + '"'


def fingerprint(connection: duckdb.DuckDBPyConnection, relation: str) -> tuple[int, str]:
    """Row count and a hash of a relation's rows that does not depend on their order."""
    rows, digest = connection.execute(
        f"select count(*), coalesce(sum(hash(t)), 0) from {relation} as t"
    ).fetchall()[0]
    return rows, str(digest)


def source_catalog(connection: duckdb.DuckDBPyConnection) -> str:
    """The catalog of the warehouse itself."""
    return connection.execute("select current_database()").fetchall()[0][0]


def relations(connection: duckdb.DuckDBPyConnection, catalog: str) -> dict[str, Relation]:
    """The tables of a catalog that readers get, by schema.table."""
    schemas = list(PUBLISHED_SCHEMAS)
    comments = connection.execute(
        "select schema_name || '.' || table_name, comment from duckdb_tables() "
        "where database_name = ? and schema_name in (select unnest(?)) order by 1",
        [catalog, schemas],
    ).fetchall()
    columns = defaultdict(list)
    for name, column, kind, comment in connection.execute(
        "select schema_name || '.' || table_name, column_name, data_type, comment "
        "from duckdb_columns() where database_name = ? and schema_name in (select unnest(?)) "
        "order by 1, column_index",
        [catalog, schemas],
    ).fetchall():
        columns[name].append((column, kind, comment))
    return {
        name: Relation(tuple(columns[name]), comment)
        for name, comment in comments
        if name not in PRIVATE
    }


# ---------------------------------------------------------------- what the warehouse holds


def current_parts(
    connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Relation], known: Parts
) -> Parts:
    """What the warehouse holds now; of marts of days only the days that changed are scanned.

    Args:
        known: What it held when it was last published.
    """
    catalog = named(source_catalog(connection))
    stale = pending_days(connection, PUBLISH)
    by_day = _day_marts(connection) if EVERY_DAY not in stale else set()
    found: Parts = {}
    for name, relation in tables.items():
        original = f"{catalog}.{name}"
        parts = None
        if name in by_day and name in known:
            days = {day for day in stale if day is not None}
            parts = {part: each for part, each in known[name].items() if part not in days}
            parts |= read_parts(connection, original, name, relation, sorted(days))
            (rows,) = connection.execute(f"select count(*) from {original}").fetchall()[0]
            # Whoever changed another day than the ledger knows is found out by the count.
            parts = parts if rows == sum(part.rows for part in parts.values()) else None
        found[name] = (
            parts if parts is not None else read_parts(connection, original, name, relation)
        )
    return found


def _day_marts(connection: duckdb.DuckDBPyConnection) -> set[str]:
    try:
        rows = connection.execute(
            "select value from audit.state where name = ?", [DAY_MARTS]
        ).fetchall()
    except duckdb.CatalogException:
        return set()
    return set(json.loads(rows[0][0])) if rows else set()


def _part_sql(name: str, relation: Relation) -> str:
    part = _PART_BY.get(name)
    if part is None and (_DAY, "DATE") in relation.shape:
        part = _DAY
    return f"coalesce(cast({part} as varchar), '')" if part else "''"


def _in_parts(name: str, relation: Relation, parts: Iterable[str]) -> str:
    """A filter on the rows of some parts; on days as literals, so that row groups are skipped."""
    listed = sorted(parts)
    if _part_sql(name, relation) == "''":
        return "true"
    if name not in _PART_BY and "" not in listed:
        return f"{_DAY} in ({', '.join(f'date {quoted(part)}' for part in listed)})"
    return f"{_part_sql(name, relation)} in ({', '.join(map(quoted, listed))})"


def read_parts(
    connection: duckdb.DuckDBPyConnection,
    original: str,
    name: str,
    relation: Relation,
    parts: Iterable[str] | None = None,
) -> dict[str, Part]:
    """What the parts of a table add up to; all of them, or some."""
    part = _part_sql(name, relation)
    listed = None if parts is None else list(parts)
    if listed == []:
        return {}
    if part == "''":
        rows, digest = fingerprint(connection, original)
        ((amount,),) = connection.execute(
            f"select sum({relation.amount}) from {original}"
        ).fetchall()
        return {"": Part(rows, amount, int(digest))}
    where = "true" if listed is None else _in_parts(name, relation, listed)
    rows = connection.execute(
        f"select {part}, count(*), sum({relation.amount}), sum(hash(t)) "
        f"from {original} as t where {where} group by 1"
    ).fetchall()
    return {key: Part(count, amount, int(digest)) for key, count, amount, digest in rows}


# ---------------------------------------------------------------- what the snapshot gets


@dataclass(frozen=True, slots=True)
class Change:
    """What a published file lacks of the warehouse.

    Attributes:
        whole: Tables to write anew.
        parts: Parts to replace, by table.
        dropped: Tables that are no more.
    """

    whole: list[str]
    parts: dict[str, set[str]]
    dropped: list[str]


def _change(
    tables: Mapping[str, Relation],
    existing: Mapping[str, Relation],
    changed: dict[str, set[str]],
) -> Change:
    whole = [
        name
        for name, table in tables.items()
        if name not in existing or existing[name].shape != table.shape
    ]
    return Change(
        whole=whole,
        parts={name: parts for name, parts in changed.items() if name not in whole},
        dropped=[name for name in existing if name not in tables],
    )


def changed_parts(wanted: Parts, held: Parts) -> dict[str, set[str]]:
    """The parts in which two contents differ, by table of the first."""
    changed = {
        name: {
            part
            for part in parts.keys() | held.get(name, {}).keys()
            if parts.get(part) != held.get(name, {}).get(part)
        }
        for name, parts in wanted.items()
    }
    return {name: parts for name, parts in changed.items() if parts}


@contextmanager
def attached(connection: duckdb.DuckDBPyConnection, part: Path) -> Iterator[None]:
    """The file as catalog `snapshot`, created where it does not exist."""
    version = "" if part.exists() else f" (storage_version {quoted(STORAGE_VERSION)})"
    connection.execute(f"attach {quoted(str(part))} as snapshot{version}")
    try:
        yield
    finally:
        connection.execute("detach snapshot")


def write_changes(
    connection: duckdb.DuckDBPyConnection,
    part: Path,
    tables: Mapping[str, Relation],
    wanted: Parts,
    held: Parts,
) -> None:
    """Bring the file from what it holds to what the warehouse holds, and verify what was written.

    A file that does not exist is written whole. What was not written was verified when it was.

    Raises:
        PublishRefusedError: the file does not equal its source.
    """
    source = source_catalog(connection)
    with attached(connection, part):
        existing = relations(connection, "snapshot")
        change = _change(tables, existing, changed_parts(wanted, held))
        with _transaction(connection, is_wanted=bool(existing)):
            _drop_views(connection)
            for name in change.dropped:
                connection.execute(f"drop table snapshot.{name}")
            for name in change.whole:
                _write_table(connection, source, name)
            for name, parts in change.parts.items():
                _replace_parts(connection, source, name, tables[name], parts)
            for name, relation in tables.items():
                old = existing.get(name) if name not in change.whole else None
                _write_comments(connection, name, relation, old)
            _copy_views(connection, source)
        connection.execute("checkpoint snapshot")
        for name in sorted({*change.whole, *change.parts}):
            _verify(connection, name, tables[name], wanted[name], change.parts.get(name))


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection, *, is_wanted: bool) -> Iterator[None]:
    """One commit, hence one checkpoint, for many small changes; a whole copy writes as it goes."""
    if not is_wanted:
        yield
        return
    connection.execute("begin")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise


def _write_table(connection: duckdb.DuckDBPyConnection, source: str, name: str) -> None:
    connection.execute(f"create schema if not exists snapshot.{name.partition('.')[0]}")
    connection.execute(f"drop table if exists snapshot.{name}")
    connection.execute(
        f"create table snapshot.{name} as select * from {named(source)}.{name} "
        f"order by {_ORDER.get(name, 'all')}"
    )


def _replace_parts(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    name: str,
    relation: Relation,
    parts: set[str],
) -> None:
    where = _in_parts(name, relation, parts)
    connection.execute(f"delete from snapshot.{name} where {where}")
    connection.execute(
        f"insert into snapshot.{name} select * from {named(source)}.{name} where {where} "
        f"order by {_ORDER.get(name, 'all')}"
    )


def _verify(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    relation: Relation,
    wanted: dict[str, Part],
    parts: set[str] | None,
) -> None:
    """What was written equals its source, and with what was not it is as much as there is."""
    written = read_parts(connection, f"snapshot.{name}", name, relation, parts)
    expected = {part: each for part, each in wanted.items() if parts is None or part in parts}
    (rows,) = connection.execute(f"select count(*) from snapshot.{name}").fetchall()[0]
    if written != expected or rows != sum(part.rows for part in wanted.values()):
        raise PublishRefusedError(f"{name}: the snapshot differs from the warehouse")


def _write_comments(
    connection: duckdb.DuckDBPyConnection, name: str, relation: Relation, old: Relation | None
) -> None:
    if relation.comment != (old.comment if old else None):
        connection.execute(f"comment on table snapshot.{name} is {_text(relation.comment)}")
    known = {column: comment for column, _, comment in old.columns} if old else {}
    for column, _, comment in relation.columns:
        if comment != known.get(column):
            connection.execute(
                f"comment on column snapshot.{name}.{named(column)} is {_text(comment)}"
            )


def _text(comment: str | None) -> str:
    return "null" if comment is None else quoted(comment)


def _drop_views(connection: duckdb.DuckDBPyConnection) -> None:
    for schema, view in connection.execute(
        "select schema_name, view_name from duckdb_views() "
        "where database_name = 'snapshot' and not internal"
    ).fetchall():
        connection.execute(f"drop view snapshot.{schema}.{named(view)}")


def _copy_views(connection: duckdb.DuckDBPyConnection, source: str) -> None:
    """Recreate published views without the catalog's name, which a reader's file has not."""
    views = connection.execute(
        "select schema_name, view_name, sql, comment from duckdb_views() "
        "where database_name = ? and schema_name in (select unnest(?)) and not internal",
        [source, list(PUBLISHED_SCHEMAS)],
    ).fetchall()
    # A catalog's name stands before a schema; an alias that happens to be equal does not.
    schemas = "|".join(PUBLISHED_SCHEMAS)
    catalog = re.compile(rf'(?<![\w."])"?{re.escape(source)}"?\.(?="?(?:{schemas})"?\.)')
    connection.execute("use snapshot")
    try:
        for schema, view, sql, comment in views:
            connection.execute(f"create schema if not exists {schema}")
            connection.execute(catalog.sub("", sql))
            if comment:
                connection.execute(f"comment on view {schema}.{view} is {quoted(comment)}")
            _copy_column_comments(connection, source, schema, view)
    finally:
        connection.execute(f"use {named(source)}")


def _copy_column_comments(
    connection: duckdb.DuckDBPyConnection, source: str, schema: str, view: str
) -> None:
    columns = connection.execute(
        "select column_name, comment from duckdb_columns() where database_name = ? "
        "and schema_name = ? and table_name = ? and comment is not null",
        [source, schema, view],
    ).fetchall()
    for column, comment in columns:
        connection.execute(
            f"comment on column snapshot.{schema}.{view}.{named(column)} is {quoted(comment)}"
        )
