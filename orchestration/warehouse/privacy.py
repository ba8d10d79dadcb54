"""Where raw names people, and how what must not be kept of them stays out of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import msgspec

from orchestration.landing.forgotten import FORGOTTEN, Forgotten, read_forgotten
from orchestration.landing.kinds import ROW_KINDS, FileKind
from orchestration.landing.retained import read_detail_from
from orchestration.sources.records import RawTable
from orchestration.warehouse.connection import quoted

# Columns that hold a person's id, in whichever table; a customer is an end user of the gateway.
_IDS = ("user_id", "customer_id")
# Columns that hold one only in some rows, by the condition that tells them.
_SOMETIMES = {
    "owners__observations": {"entity_id": "entity in ('user', 'customer')"},
    "litellm__daily_spend": {"entity_id": "litellm_table = 'LiteLLM_DailyUserSpend'"},
}
# What else says who somebody is, and goes with the id.
_BESIDE = ("user_name", "customer_name", "client_ip", "user_agent")


def person_columns(table: RawTable) -> Mapping[str, str]:
    """The columns of a table of raw that hold a person's id, each with when it does."""
    ids = {column.name: "true" for column in table.columns if column.name in _IDS}
    return ids | _SOMETIMES.get(table.name, {})


def names_people(kind: FileKind) -> bool:
    """Whether rows of a kind of file can name a person."""
    return any(person_columns(table) for table in (kind.table, *kind.children))


def kinds_with_people() -> tuple[str, ...]:
    """The kinds of file that can name a person."""
    return tuple(name for name, kind in ROW_KINDS.items() if names_people(kind))


def read_into(connection: duckdb.DuckDBPyConnection, landing: Path) -> None:
    """Take over from the landing folder who is to be forgotten, and how long detail is kept."""
    connection.execute("delete from raw.kept_detail")
    connection.execute("insert into raw.kept_detail values (?)", [read_detail_from(landing)])
    known = read_forgotten(landing)
    connection.execute("delete from raw.forgotten_persons")
    for each in sorted(known.hashes):
        connection.execute("insert into raw.forgotten_persons values (?, ?)", [known.salt, each])


def read_from(connection: duckdb.DuckDBPyConnection) -> Forgotten:
    """Who is to be forgotten, as taken over before."""
    rows = connection.execute("select salt, id_sha256 from raw.forgotten_persons").fetchall()
    return Forgotten(rows[0][0], frozenset(each for _, each in rows)) if rows else Forgotten()


def named(table: RawTable) -> str:
    """SQL: whether a row of the table names somebody who is to be forgotten."""
    return " or ".join(_is_forgotten(*each) for each in person_columns(table).items()) or "false"


def unnamed(table: RawTable) -> str:
    """SQL: the assignments that take them out of such a row."""
    columns = [
        f"{name} = case when {_is_forgotten(name, condition)} then {quoted(FORGOTTEN)} "
        f"else {name} end"
        for name, condition in person_columns(table).items()
    ]
    beside = [f"{each.name} = null" for each in table.columns if each.name in _BESIDE]
    return ", ".join([*columns, *beside])


def _is_forgotten(name: str, condition: str) -> str:
    return (
        f"({condition} and {name} is not null and exists (select 1 from raw.forgotten_persons as f "
        f"where f.id_sha256 = sha256(f.salt || {name})))"
    )


def leave_out(connection: duckdb.DuckDBPyConnection, kind: FileKind) -> None:
    """Take out of staged rows what must not be kept, before they are compared with raw."""
    if connection.execute("select 1 from raw.forgotten_persons limit 1").fetchall():
        for table in (kind.table, *kind.children):
            if person_columns(table):
                _change_staged(connection, table, unnamed(table), named(table))
    rows = connection.execute("select detail_from from raw.kept_detail").fetchall()
    if rows and rows[0][0] is not None and kind in kinds_with_detail():
        table = kind.table
        _change_staged(connection, table, without_detail(table), is_expired(table, rows[0][0]))


def _change_staged(
    connection: duckdb.DuckDBPyConnection, table: RawTable, assignments: str, where: str
) -> None:
    connection.execute(
        f"update incoming_{table.name} set _row_hash = null, {assignments} where {where}"
    )


# ---------------------------------------------------------------- detail of old requests

# What tells one person or conversation from another, in whichever table of requests.
_DETAIL = (
    *_IDS,
    "session_id",
    "trace_id",
    "litellm_call_id",
    "request_tags",
    "client_ip",
    "user_agent",
)


def kinds_with_detail() -> tuple[FileKind, ...]:
    """The kinds of file that hold single requests, and more of them than what they cost."""
    return tuple(
        kind
        for name, kind in ROW_KINDS.items()
        if (kind.may_hold_content or name == "app_requests") and _detail_columns(kind.table)
    )


def _detail_columns(table: RawTable) -> list[str]:
    return [column.name for column in table.columns if column.name in _DETAIL]


def without_detail(table: RawTable) -> str:
    """SQL: the assignments that take the detail out of a row."""
    return ", ".join(f"{name} = null" for name in _detail_columns(table))


def is_expired(table: RawTable, detail_from: datetime) -> str:
    """SQL: whether a row of the table is too old for the detail it has."""
    has_detail = " or ".join(f"{name} is not null" for name in _detail_columns(table))
    return f"{table.event_at} < timestamp '{detail_from.isoformat(sep=' ')}' and ({has_detail})"


# ---------------------------------------------------------------- what is kept of refused rows

# Numbers keep the digits they were written with.
_JSON = msgspec.json.Encoder(decimal_format="number", order="sorted")


def clean_fields(fields: str, forgotten: Forgotten) -> str:
    """What is kept of a refused row, without forgotten people; the same text where it has none."""
    if not forgotten.hashes or not fields:
        return fields
    value = json.loads(fields, parse_float=Decimal)
    cleaned = forgotten.without(value)
    return fields if cleaned == value else _JSON.encode(cleaned).decode()
