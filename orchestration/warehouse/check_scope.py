"""What a check step must look at again, and what earlier ones found on all other days.

A build replaces days, so only those days can have gone wrong in it. Cheap guards watch the rest:
row counts of the tables, the ledger's sums, and the price sets in use. A guard that trips, a build
of every day, a week since the last audit or a check asked for by itself lead to a full audit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

import duckdb

from orchestration.warehouse.pending import CHECK, EVERY_DAY, clear_days, pending_days
from orchestration.warehouse.transform import BUILT, MARTS, read_state, write_state

AUDIT_EVERY = timedelta(days=7)
# State: the clock of the last full audit, and the last load batch that was checked.
AUDITED_AT, CHECKED_BATCH = "audited_at", "checked_batch"
# Tables of days whose rows on other days must stay as many as they were.
_COUNTED = ("marts.usage_records", "marts.daily_spend", "marts.audit_trail")


@dataclass(frozen=True, slots=True)
class Scope:
    """What is in question.

    Attributes:
        days: UTC days (YYYY-MM-DD); None means every day.
        after_batch: Number of the last load batch that is not in question.
        reason: Why everything is in question, in words; empty otherwise.
    """

    days: tuple[str, ...] | None
    after_batch: int = 0
    reason: str = ""


EVERYTHING = Scope(days=None, reason="asked for")


@dataclass(frozen=True, slots=True)
class DayFinding:
    """What one check found on one day, in one currency.

    Attributes:
        day: The day; None where the table has no days.
        amount: Exact sum of the known amounts; None where none is known.
        failures: (key, amount) of the failing rows with most money at stake.
    """

    day: date | None
    currency: str
    rows: int
    amount: Decimal | None
    failures: list[tuple[str, Decimal | None]] = field(default_factory=list)


# By check, what was found on days that are not in question.
Remembered = dict[str, list[DayFinding]]


def in_days(column: str, days: Iterable[str] | None) -> str:
    """A filter on days as literal half-open ranges, so that row groups are skipped."""
    if days is None:
        return "true"
    ranges: list[list[date]] = []
    for day in sorted(map(date.fromisoformat, days)):
        if ranges and ranges[-1][1] == day:
            ranges[-1][1] = day + timedelta(days=1)
        else:
            ranges.append([day, day + timedelta(days=1)])
    listed = (
        f"({column} >= timestamp '{first}' and {column} < timestamp '{last}')"
        for first, last in ranges
    )
    return f"({' or '.join(listed)})" if ranges else "false"


def plan_checks(
    connection: duckdb.DuckDBPyConnection, as_of: datetime, *, is_sync: bool = False
) -> Scope:
    """What the next check step must look at; a sync leaves the audit of the week to others."""
    pending = pending_days(connection, CHECK)
    reason = _reason(connection, pending, as_of, is_sync=is_sync)
    if reason:
        return Scope(days=None, reason=reason)
    days = {day for day in pending if day is not None}
    # Days of rows that were loaded and are not built yet: their batches are in question too.
    days |= {
        day
        for (day,) in connection.execute(
            "select cast(touched_date as varchar) from audit.touched_days"
        ).fetchall()
    }
    scope = Scope(
        days=tuple(sorted(days)), after_batch=int(read_state(connection, CHECKED_BATCH) or 0)
    )
    tripped = _tripped_guard(connection, scope)
    return Scope(days=None, reason=tripped) if tripped else scope


def _reason(
    connection: duckdb.DuckDBPyConnection,
    pending: set[str | None],
    as_of: datetime,
    *,
    is_sync: bool,
) -> str:
    audited = read_state(connection, AUDITED_AT)
    if EVERY_DAY in pending:
        return "every day was built"
    if read_state(connection, MARTS) != BUILT:
        return "asked for"
    if audited is None or read_state(connection, CHECKED_BATCH) is None:
        return "never done before"
    if not is_sync and not timedelta(0) <= as_of - datetime.fromisoformat(audited) < AUDIT_EVERY:
        return f"the last audit was as of {audited}Z"
    return ""


def _tripped_guard(connection: duckdb.DuckDBPyConnection, scope: Scope) -> str:
    for table in _present(connection):
        rows, other, today = connection.execute(f"""
            select
                (select count(*) from {table}),
                (
                    select coalesce(sum("rows"), 0) from audit.day_totals
                    where table_name = '{table}' and not {in_days("usage_date", scope.days)}
                ),
                (select count(*) from {table} where {in_days("usage_date", scope.days)})
            """).fetchall()[0]
        if rows != other + today:
            return f"{table} has {rows} rows, {other + today} were accounted for"
    loaded, raw, refused, quarantined, gone = connection.execute("""
        select
            (
                select coalesce(sum(rows_loaded), 0) from audit.load_batches
                where status = 'loaded' and kind in (
                    'litellm_spend_logs', 'gateway_usage', 'openrouter_generations',
                    'cloudflare_ai_gateway'
                )
            ),
            (
                (select count(*) from raw.litellm__spend_logs)
                + (select count(*) from raw.gateway__usage)
            ),
            (
                select coalesce(sum(rows_quarantined), 0) from audit.load_batches
                where status = 'loaded'
            ),
            (
                select count(*) from audit.quarantine where load_batch_id in (
                    select load_batch_id from audit.load_batches where status = 'loaded'
                )
            ),
            (
                select count(*)
                from audit.used_price_sets as u
                left join marts.price_sets as p on u.price_set_id = p.price_set_id
                where
                    p.price_set_id is null
                    or u.first_used_at < p.valid_from_at or u.last_used_at >= p.valid_to_at
            )
        """).fetchall()[0]
    if loaded != raw:
        return f"raw holds {raw} usage rows, the ledger {loaded}"
    if refused != quarantined:
        return f"quarantine holds {quarantined} rows, the ledger {refused}"
    return f"{gone} price sets in use changed" if gone else ""


def _present(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute(
        "select schema_name || '.' || table_name from duckdb_tables() "
        "where database_name = current_database()"
    ).fetchall()
    return [table for table in _COUNTED if (table,) in rows]


def read_remembered(connection: duckdb.DuckDBPyConnection, scope: Scope) -> Remembered:
    """What was found on the days that are not in question."""
    remembered: Remembered = {}
    if scope.days is None:
        return remembered
    for check, day, currency, rows, amount, failures in connection.execute(f"""
        select "check", usage_date, currency, failing_rows, amount, failures
        from audit.check_days where not {in_days("usage_date", scope.days)}
        order by all
        """).fetchall():
        listed = [(key, _decimal(text)) for key, text in json.loads(failures)]
        remembered.setdefault(check, []).append(DayFinding(day, currency, rows, amount, listed))
    return remembered


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def note_findings(
    connection: duckdb.DuckDBPyConnection, scope: Scope, found: dict[str, list[DayFinding]]
) -> None:
    """Remember what was found on the days in question, for the checks of later days."""
    connection.execute(f"delete from audit.check_days where {in_days('usage_date', scope.days)}")
    rows = [
        (
            check,
            each.day,
            each.currency,
            each.rows,
            each.amount,
            json.dumps([(key, None if a is None else str(a)) for key, a in each.failures]),
        )
        for check, findings in found.items()
        for each in findings
        if each.day is not None
    ]
    if rows:
        connection.executemany("insert into audit.check_days values (?, ?, ?, ?, ?, ?)", rows)


def note_passed(connection: duckdb.DuckDBPyConnection, scope: Scope, as_of: datetime) -> None:
    """Note that every hard check held, so that the guards can watch over these days."""
    filtered = in_days("usage_date", scope.days)
    connection.execute(f"delete from audit.day_totals where {filtered}")
    for table in _present(connection):
        connection.execute(
            f"insert into audit.day_totals select '{table}', usage_date, count(*) from {table} "
            f"where {filtered} group by usage_date"
        )
    if scope.days is None:
        connection.execute("delete from audit.used_price_sets")
        write_state(connection, AUDITED_AT, as_of.isoformat())
    connection.execute(f"""
        create or replace temp table now_used as
        select price_set_id, min(first_used_at) as first_used_at, max(last_used_at) as last_used_at
        from (
            select price_set_id, started_at as first_used_at, started_at as last_used_at
            from marts.usage_records where {filtered} and cost_status = 'priced'
            union all
            select * from audit.used_price_sets
        )
        group by price_set_id
        """)
    connection.execute("delete from audit.used_price_sets")
    connection.execute("insert into audit.used_price_sets from now_used")
    connection.execute("drop table now_used")
    ((batch,),) = connection.execute(
        "select coalesce(max(batch_number), 0) from audit.load_batches"
    ).fetchall()
    write_state(connection, CHECKED_BATCH, str(batch))
    clear_days(connection, CHECK)
