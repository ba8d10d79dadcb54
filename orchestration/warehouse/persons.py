"""Where raw names people, and how a forgotten one's name is kept out of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import duckdb
import msgspec

from orchestration.landing.forgotten import FORGOTTEN, Forgotten, read_forgotten
from orchestration.landing.kinds import ROW_KINDS, FileKind
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
    """Take over who is to be forgotten from the landing folder."""
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


def leave_out_forgotten(connection: duckdb.DuckDBPyConnection, kind: FileKind) -> None:
    """Take forgotten people out of staged rows, before these are compared with raw."""
    if not connection.execute("select 1 from raw.forgotten_persons limit 1").fetchall():
        return
    for table in (kind.table, *kind.children):
        if person_columns(table):
            connection.execute(
                f"update incoming_{table.name} set _row_hash = null, {unnamed(table)} "
                f"where {named(table)}"
            )


# Numbers keep the digits they were written with.
_JSON = msgspec.json.Encoder(decimal_format="number", order="sorted")


def clean_fields(fields: str, forgotten: Forgotten) -> str:
    """What is kept of a refused row, without forgotten people; the same text where it has none."""
    if not forgotten.hashes or not fields:
        return fields
    value = json.loads(fields, parse_float=Decimal)
    cleaned = forgotten.without(value)
    return fields if cleaned == value else _JSON.encode(cleaned).decode()
