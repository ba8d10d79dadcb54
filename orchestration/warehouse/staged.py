"""Staged rows into raw: known ones left out, days and contested ids noted."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from orchestration.core.refusals import FILE_NOTE_CODES
from orchestration.landing.kinds import ROW_KINDS, FileKind
from orchestration.sources.records import RawTable
from orchestration.warehouse.connection import quoted
from orchestration.warehouse.ledger import Batch, Ledger, Quarantined
from orchestration.warehouse.privacy import leave_out

# Lines that make a row group, about, and rows that are sorted in no time.
_PART_LINES = 100_000
_FEW_ROWS = 20_000


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
    """An empty temporary table for the rows of one file that go to `table`.

    `_codes` holds the flags of a row, sorted, comma-separated; NULL where it has none. `_row_hash`
    may be left out: insert_new_rows fills it in.
    """
    columns = ", ".join(f"{column.name} {column.type}" for column in table.columns)
    connection.execute(
        f"create or replace temp table incoming_{table.name} "
        f"(_source_line bigint, _codes varchar, _row_hash ubigint, {columns})"
    )


def insert_incoming(
    connection: duckdb.DuckDBPyConnection,
    table: RawTable,
    rows: list[tuple[int, dict[str, Any]]],
    codes: list[set[str]] | None = None,
) -> None:
    """Stage (line, values) rows for `table`, with the flags of each where they are given.

    They go as JSON, whose numbers with a fraction are written as text: pyarrow would import pandas
    to take lists, which lasts longer than loading an hour's file.
    """
    flags = [",".join(sorted(each)) or None for each in codes or [set()] * len(rows)]
    types = {"_source_line": "bigint", "_codes": "varchar"}
    types |= {column.name: column.type for column in table.columns}
    names = [column.name for column in table.columns]
    whole = [
        {"_source_line": line, "_codes": flag, **{name: values.get(name) for name in names}}
        for (line, values), flag in zip(rows, flags, strict=True)
    ]
    connection.execute(
        f"insert into incoming_{table.name} by name "
        f"select r.* from (select unnest(from_json_strict(?, {quoted(json.dumps([types]))})) as r)",
        [msgspec.json.encode(whole).decode()],
    )


def forget_incoming(
    connection: duckdb.DuckDBPyConnection, kind: FileKind, lines: Collection[int]
) -> None:
    """Take staged lines back that turned out to be unacceptable beside others of their file."""
    listed = ", ".join(str(line) for line in sorted(lines))
    for table in (kind.table, *kind.children):
        connection.execute(f"delete from incoming_{table.name} where _source_line in ({listed})")


def add_codes(
    connection: duckdb.DuckDBPyConnection, kind: FileKind, codes: list[tuple[int, str]]
) -> None:
    """Add flags of staged rows that only the whole file shows, as (line, code)."""
    if not codes:
        return
    found: dict[int, set[str]] = {}
    for line, code in codes:
        found.setdefault(line, set()).add(code)
    added = {"line": list(found), "codes": [sorted(each) for each in found.values()]}
    connection.register("added_codes", pa.table(added))
    connection.execute(f"""
        update incoming_{kind.table.name} as i
        set _codes = array_to_string(
            list_sort(list_concat(coalesce(string_split(i._codes, ','), []), a.codes)), ','
        )
        from added_codes as a
        where i._source_line = a.line
        """)
    connection.unregister("added_codes")


def count_codes(connection: duckdb.DuckDBPyConnection, kind: FileKind) -> tuple[Counter[str], int]:
    """How often each flag stands on a staged row, and how many rows have any."""
    counted: Counter[str] = Counter()
    flagged = 0
    rows = connection.execute(f"""
        select _codes, count(*) from incoming_{kind.table.name}
        where _codes is not null group by _codes
        """).fetchall()
    for codes, count in rows:
        flagged += count
        for code in codes.split(","):
            counted[code] += count
    return counted, flagged


def insert_flags(connection: duckdb.DuckDBPyConnection, kind: FileKind, batch: Batch) -> None:
    """Write the flags of staged rows, within the caller's transaction."""
    notes = ", ".join(quoted(code) for code in sorted(FILE_NOTE_CODES))
    connection.execute(f"""
        insert into audit.row_flags by name
        select {quoted(batch.load_batch_id)} as load_batch_id, line_number, code
        from (
            select _source_line as line_number, unnest(string_split(_codes, ',')) as code
            from incoming_{kind.table.name}
            where _codes not in ({notes})
        )
        where code not in ({notes})
        order by line_number, code
        """)


def row_hash_sql(table: RawTable, columns: Collection[str] | None = None) -> str:
    """SQL for the content hash: md5 over the allow-listed fields, NULL apart from empty.

    Where only some `columns` are there, the others count as NULL.
    """
    parts: list[str] = []
    for is_absent, group in itertools.groupby(
        (column.name for column in table.columns if column.is_content),
        key=lambda name: columns is not None and name not in columns,
    ):
        names = list(group)
        if is_absent:
            parts.append(quoted("\x1f".join("\x1e" for _ in names)))
        else:
            parts += (f"coalesce(cast({name} as varchar), chr(30))" for name in names)
    return f"md5_number_lower(concat_ws(chr(31), {', '.join(parts)}))"


def fill_hashes(connection: duckdb.DuckDBPyConnection, table: RawTable) -> None:
    """Give every staged row of a table its content hash."""
    connection.execute(f"""
        update incoming_{table.name} set _row_hash = {row_hash_sql(table)} where _row_hash is null
        """)


def insert_new_rows(
    connection: duckdb.DuckDBPyConnection, kind: FileKind, batch: Batch
) -> tuple[int, datetime | None, datetime | None]:
    """Append the staged rows that raw does not hold; (rows, first event, last event).

    A row is known when raw, or an earlier line, holds its natural key with the same content.
    The natural key contains the row's time, so history is probed within the file's days only.
    """
    table = kind.table
    # Equal content has an equal time, so the time may join the key where it is no part of it.
    key = tuple(dict.fromkeys((*table.key, table.event_at)))
    leave_out(connection, kind)
    fill_hashes(connection, table)
    rows, low, high = connection.execute(
        f"select count(*), min({table.event_at}), max({table.event_at}) from incoming_{table.name}"
    ).fetchall()[0]
    same = " and ".join(f"r.{name} is not distinct from i.{name}" for name in key)
    # Candidates by their hash alone first: most files hold hardly a row that is known.
    connection.execute(f"""
        create or replace temp table known_lines as
        with copied as (
            select _row_hash from incoming_{table.name} group by _row_hash having count(*) > 1
        ),
        numbered as (
            select
                _source_line,
                row_number() over (
                    partition by {", ".join(key)}, _row_hash order by _source_line
                ) as copy_number
            from incoming_{table.name}
            where _row_hash in (select _row_hash from copied)
        ),
        in_raw as (
            select i._source_line
            from incoming_{table.name} as i
            inner join raw.{table.name} as r on i._row_hash = r._row_hash and {same}
            where
                r._gateway = {quoted(batch.gateway)}
                and r.{table.event_at} between {_timestamp(low)} and {_timestamp(high)}
        )
        select _source_line from numbered where copy_number > 1
        union
        select _source_line from in_raw
        """)
    known = connection.execute("select count(*) from known_lines").fetchall()[0][0]
    if rows > known:
        _append(connection, table, batch, hashes_from=table)
        for child in kind.children:
            _append(connection, child, batch, hashes_from=table)
        _note_touched(connection, kind, batch)
    return rows - known, low, high


def _timestamp(moment: datetime | None) -> str:
    return "null::timestamp" if moment is None else f"timestamp '{moment.isoformat(sep=' ')}'"


def _append(
    connection: duckdb.DuckDBPyConnection, table: RawTable, batch: Batch, *, hashes_from: RawTable
) -> None:
    names = ", ".join(f"i.{column.name}" for column in table.columns)
    whole = ""
    if table is not hashes_from:
        # A part of a row carries the hash of the whole.
        whole = f"inner join incoming_{hashes_from.name} as w on i._source_line = w._source_line"
    connection.execute(f"""
        insert into raw.{table.name} by name
        select
            {names},
            {quoted(batch.gateway)} as _gateway,
            {quoted(batch.source)} as _source,
            {quoted(batch.load_batch_id)} as _load_batch_id,
            {quoted(batch.file_name)} as _source_file,
            i._source_line,
            {"w" if whole else "i"}._row_hash
        from incoming_{table.name} as i
        {whole}
        where i._source_line not in (select _source_line from known_lines)
        {_order_sql(connection, table)}
        """)


def _order_sql(connection: duckdb.DuckDBPyConnection, table: RawTable) -> str:
    """The order in which staged rows are written: by time, so that row groups prune.

    Sorting costs a third of what writing does. A long file whose parts follow each other in time
    prunes as well as a sorted one; a short one is soon sorted.
    """
    rows, span, spread = connection.execute(f"""
        select sum(part_rows), max(last_us) - min(first_us), sum(last_us - first_us)
        from (
            select
                count(*) as part_rows,
                epoch_us(min({table.event_at})) as first_us,
                epoch_us(max({table.event_at})) as last_us
            from incoming_{table.name}
            group by _source_line // {_PART_LINES}
        )
        """).fetchall()[0]
    if rows is not None and rows > _FEW_ROWS and span is not None and spread <= 1.5 * span:
        return ""
    return f"order by i.{table.event_at}, i._source_line"


def note_touched(connection: duckdb.DuckDBPyConnection, table: str, day: date) -> None:
    """Note within the caller's transaction that the marts have to take up news of a table."""
    connection.execute("insert into audit.touched_days values (?, ?)", [table, day])


def append_all(connection: duckdb.DuckDBPyConnection, table: RawTable, batch: Batch) -> None:
    """Append every staged row of a table, within the caller's transaction, and note its days."""
    fill_hashes(connection, table)
    connection.execute("create or replace temp table known_lines (_source_line bigint)")
    _append(connection, table, batch, hashes_from=table)
    _note_days(connection, table)


def _note_touched(connection: duckdb.DuckDBPyConnection, kind: FileKind, batch: Batch) -> None:
    table = kind.table
    if table.contested is not None:
        _note_contested(connection, table, batch)
    _note_days(connection, table)


def _note_days(connection: duckdb.DuckDBPyConnection, table: RawTable) -> None:
    connection.execute(f"""
        insert into audit.touched_days
        select {quoted(table.name)}, day from (
            select distinct cast(i.{table.event_at} as date) as day
            from incoming_{table.name} as i
            where i._source_line not in (select _source_line from known_lines)
        )
        where day not in (
            select touched_date from audit.touched_days where table_name = {quoted(table.name)}
        )
        """)


def request_hash_sql(gateway: str, request_id: str) -> str:
    """SQL for what tells a request id of a gateway from all others in eight bytes."""
    return f"md5_number_lower({gateway} || chr(31) || {request_id})"


def _note_contested(connection: duckdb.DuckDBPyConnection, table: RawTable, batch: Batch) -> None:
    """Remember ids that raw now holds more than once, and the days of all their rows.

    An id may come again after years, so all of history is asked: by eight bytes of a hash, a tenth
    of what reading the ids costs. A hash that two ids share has both compared, which does no harm.
    """
    gateway = quoted(batch.gateway)
    connection.execute(f"""
        create or replace temp table arrived_requests as
        select
            i._source_line,
            {request_hash_sql(gateway, "i.request_id")} as request_hash,
            cast(i.{table.event_at} as date) as event_date
        from incoming_{table.name} as i
        where i._source_line not in (select _source_line from known_lines)
        """)
    connection.execute(f"""
        create or replace temp table met_requests as
        select request_hash, event_date
        from raw.{table.request_days}
        where request_hash in (select request_hash from arrived_requests)
        union
        select request_hash, null from arrived_requests group by request_hash having count(*) > 1
        """)
    connection.execute(f"""
        insert into raw.{table.contested}
        select distinct {gateway}, i.request_id
        from incoming_{table.name} as i
        where
            i._source_line in (
                select _source_line
                from arrived_requests
                where request_hash in (select request_hash from met_requests)
            )
            and i.request_id not in (
                select request_id from raw.{table.contested} where _gateway = {gateway}
            )
        """)
    connection.execute(f"""
        insert into audit.touched_days
        select {quoted(table.name)}, event_date
        from (select distinct event_date from met_requests where event_date is not null)
        where event_date not in (
            select touched_date from audit.touched_days where table_name = {quoted(table.name)}
        )
        """)
    connection.execute(f"""
        insert into raw.{table.request_days} by name
        select request_hash, event_date from arrived_requests
        """)
