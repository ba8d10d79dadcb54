"""Staged rows into raw: known ones left out, days and contested ids noted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from orchestration.landing.kinds import ROW_KINDS, FileKind
from orchestration.sources.records import Column, RawTable
from orchestration.warehouse.connection import quoted
from orchestration.warehouse.ledger import Batch, Ledger, Quarantined

_ARROW_TYPES = {
    "varchar": pa.string(),
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
    "decimal(38, 18)": pa.decimal128(38, 18),
    "decimal(20, 6)": pa.decimal128(20, 6),
}


def commit_again(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    batch: Batch,
    *,
    quarantined: list[Quarantined],
    flags: list[tuple[int, str]],
) -> Batch:
    """Write staged rows of a batch whose entry, flags and refusals are already decided."""
    connection.execute("begin")
    try:
        loaded, _, _ = insert_new_rows(connection, ROW_KINDS[batch.kind], batch)
        batch = replace(
            batch,
            rows_loaded=loaded,
            rows_already_known=batch.rows_in - batch.rows_quarantined - loaded,
        )
        ledger.insert(batch)
        ledger.insert_quarantine(batch, quarantined)
        ledger.insert_flags(batch, flags)
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise
    return batch


def create_incoming(connection: duckdb.DuckDBPyConnection, table: RawTable) -> None:
    """An empty temporary table for the rows of one file that go to `table`."""
    columns = ", ".join(f"{column.name} {column.type}" for column in table.columns)
    connection.execute(
        f"create or replace temp table incoming_{table.name} (_source_line bigint, {columns})"
    )


def insert_incoming(
    connection: duckdb.DuckDBPyConnection, table: RawTable, rows: list[tuple[int, dict[str, Any]]]
) -> None:
    """Stage (line, values) rows for `table`."""
    arrays = [pa.array([line for line, _ in rows], pa.int64())]
    arrays += [_array(column, rows) for column in table.columns]
    names = ["_source_line", *(column.name for column in table.columns)]
    connection.register("arriving", pa.table(arrays, names=names))
    connection.execute(f"insert into incoming_{table.name} select * from arriving")
    connection.unregister("arriving")


def _array(column: Column, rows: list[tuple[int, dict[str, Any]]]) -> pa.Array:
    return pa.array([values.get(column.name) for _, values in rows], _ARROW_TYPES[column.type])


def row_hash_sql(table: RawTable) -> str:
    """SQL for the content hash: md5 over the allow-listed fields, NULL apart from empty."""
    parts = ", ".join(
        f"coalesce(cast({column.name} as varchar), chr(30))"
        for column in table.columns
        if column.is_content
    )
    return f"md5_number_lower(concat_ws(chr(31), {parts}))"


def insert_new_rows(
    connection: duckdb.DuckDBPyConnection, kind: FileKind, batch: Batch
) -> tuple[int, datetime | None, datetime | None]:
    """Append the staged rows that raw does not hold; (rows, first event, last event).

    A row is known when raw, or an earlier line, holds its natural key with the same content.
    The natural key contains the row's time, so history is probed within the file's days only.
    """
    table = kind.table
    # Equal content has an equal time, so the time may join the key where it is no part of it.
    key_columns = tuple(dict.fromkeys((*table.key, table.event_at)))
    key = ", ".join(key_columns)
    connection.execute(f"""
        create or replace temp table arriving_keys as
        select _source_line, {key}, {row_hash_sql(table)} as _row_hash
        from incoming_{table.name}
        """)
    low, high = connection.execute(
        f"select min({table.event_at}), max({table.event_at}) from arriving_keys"
    ).fetchall()[0]
    connection.execute(f"""
        create or replace temp table fresh_lines as
        with first_copies as (
            select min(_source_line) as _source_line, {key}, _row_hash
            from arriving_keys
            group by {key}, _row_hash
        )
        select f._source_line, f._row_hash
        from first_copies as f
        where not exists (
            select 1
            from raw.{table.name} as r
            where
                r._gateway = {quoted(batch.gateway)}
                and r.{table.event_at} between {_timestamp(low)} and {_timestamp(high)}
                and r._row_hash = f._row_hash
                and {" and ".join(f"r.{c} is not distinct from f.{c}" for c in key_columns)}
        )
        """)
    loaded = connection.execute("select count(*) from fresh_lines").fetchall()[0][0]
    if loaded:
        for each in (table, *kind.children):
            _append(connection, each, batch)
        _note_touched(connection, kind, batch)
    return loaded, low, high


def _timestamp(moment: datetime | None) -> str:
    return "null::timestamp" if moment is None else f"timestamp '{moment.isoformat(sep=' ')}'"


def _append(connection: duckdb.DuckDBPyConnection, table: RawTable, batch: Batch) -> None:
    names = ", ".join(f"i.{column.name}" for column in table.columns)
    connection.execute(f"""
        insert into raw.{table.name} by name
        select
            {names},
            {quoted(batch.gateway)} as _gateway,
            {quoted(batch.source)} as _source,
            {quoted(batch.load_batch_id)} as _load_batch_id,
            {quoted(batch.file_name)} as _source_file,
            i._source_line,
            f._row_hash
        from incoming_{table.name} as i
        inner join fresh_lines as f on i._source_line = f._source_line
        order by i.{table.event_at}, i._source_line
        """)


def _note_touched(connection: duckdb.DuckDBPyConnection, kind: FileKind, batch: Batch) -> None:
    table = kind.table
    if kind.name == "litellm_spend_logs":
        _note_contested(connection, batch)
    connection.execute(f"""
        insert into audit.touched_days
        select {quoted(table.name)}, day from (
            select distinct cast(i.{table.event_at} as date) as day
            from incoming_{table.name} as i
            inner join fresh_lines as f on i._source_line = f._source_line
        )
        where day not in (
            select touched_date from audit.touched_days where table_name = {quoted(table.name)}
        )
        """)


def _note_contested(connection: duckdb.DuckDBPyConnection, batch: Batch) -> None:
    """Remember ids that raw now holds more than once, and the days of all their rows."""
    gateway = quoted(batch.gateway)
    connection.execute(f"""
        create or replace temp table newly_contested as
        select r.request_id
        from raw.litellm__spend_logs as r
        where r._gateway = {gateway} and r.request_id in (
            select i.request_id
            from incoming_litellm__spend_logs as i
            inner join fresh_lines as f on i._source_line = f._source_line
        )
        group by r.request_id
        having count(*) > 1
        """)
    connection.execute(f"""
        insert into raw.litellm__contested_requests
        select {gateway}, request_id from newly_contested
        where request_id not in (
            select request_id from raw.litellm__contested_requests where _gateway = {gateway}
        )
        """)
    connection.execute(f"""
        insert into audit.touched_days
        select distinct 'litellm__spend_logs', cast(started_at as date)
        from raw.litellm__spend_logs
        where
            _gateway = {gateway}
            and request_id in (select request_id from newly_contested)
            and cast(started_at as date) not in (
                select touched_date
                from audit.touched_days
                where table_name = 'litellm__spend_logs'
            )
        """)
