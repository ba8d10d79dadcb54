"""The packet of a closed month: its evidence in files that prove themselves.

Every table is written as Parquet and as CSV, in a fixed order; the manifest has the sha256 of each
file and the totals of each table. The same warehouse and the same clock give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb

from orchestration.warehouse.connection import quoted
from orchestration.warehouse.packet_tables import PacketTable, packet_tables

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
SIGN_OFF = "sign_off.json"
REPORT_HTML, REPORT_PDF = "report.html", "report.pdf"
# The key under which a manifest states the hash of all its other content.
SELF = "manifest_sha256"
# A text that a spreadsheet would take for a formula gets a ' in front.
_FORMULA = r"'^\s*[=+\-@\t\r\x00]'"


@dataclass(frozen=True, slots=True)
class SignOff:
    """Who closed which month of which account, and when (UTC)."""

    account_id: str
    billing_month: str
    currency: str
    time_zone: str
    reviewer: str
    closed_at: datetime

    @property
    def content(self) -> dict[str, str]:
        """The same as it stands in the packet."""
        return {
            "account_id": self.account_id,
            "billing_month": self.billing_month,
            "closed_at": f"{self.closed_at:%Y-%m-%dT%H:%M:%S}Z",
            "currency": self.currency,
            "reviewer": self.reviewer,
            "statement": f"{self.reviewer} reviewed {self.billing_month} of {self.account_id} "
            "and closes it; what comes later is charged in the open month.",
            "time_zone": self.time_zone,
        }


Render = Callable[[duckdb.DuckDBPyConnection, SignOff, Mapping[str, Any]], Mapping[str, bytes]]


def packet_folder(home: Path, account: str, month: str) -> Path:
    """Where the packet of an account and month lies."""
    return home / "packets" / folder_name(account) / month


def folder_name(account: str) -> str:
    """An account's name as that of a folder, whatever it holds."""
    name = quote(account, safe=" ")
    return f"%2E{name[1:]}" if name.startswith(".") else name


def write_packet(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    sign_off: SignOff,
    *,
    render: Render,
    progress: Callable[[str], None],
) -> str:
    """Write a packet, whole or not at all; the sha256 of its manifest.

    What an interrupted close left in its place goes: no record names it.

    Args:
        render: Makes the reports of the packet from its tables (as temp tables packet_<name>) and
            its totals; bytes by file name.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    tables = packet_tables(connection, account=sign_off.account_id, month=sign_off.billing_month)
    described = {}
    for table in tables:
        progress(f"packet: {table.name}")
        described[table.name] = _write_table(connection, part, table)
    totals = packet_totals(connection)
    for name, content in render(connection, sign_off, totals).items():
        (part / name).write_bytes(content)
    (part / SIGN_OFF).write_bytes(as_json(sign_off.content))
    digest = _write_manifest(part, sign_off, described, totals)
    for table in tables:
        connection.execute(f"drop table packet_{table.name}")
    for path in part.iterdir():
        path.chmod(0o440)
        _sync(path)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    _sync(folder.parent)
    return digest


def as_json(content: Mapping[str, Any]) -> bytes:
    """JSON in the one form that packets use."""
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _write_table(
    connection: duckdb.DuckDBPyConnection, folder: Path, table: PacketTable
) -> dict[str, Any]:
    relation = f"packet_{table.name}"
    connection.execute(f"create or replace temp table {relation} as {table.sql}")
    parquet, csv = (quoted(str(folder / f"{table.name}.{end}")) for end in ("parquet", "csv"))
    connection.execute(f"copy {relation} to {parquet} (format parquet, compression zstd)")
    connection.execute(
        f"copy (select {guarded(connection, relation)} from {relation}) to {csv} "
        "(format csv, header)"
    )
    return {"title": table.title, **table_totals(connection, relation)}


def guarded(connection: duckdb.DuckDBPyConnection, relation: str) -> str:
    """The columns of a relation as they stand in CSV: text that no spreadsheet runs."""
    columns = connection.execute(f"describe {relation}").fetchall()
    return ", ".join(
        f"case when regexp_matches(\"{name}\", {_FORMULA}) then '''' || \"{name}\" "
        f'else "{name}" end as "{name}"'
        if kind == "VARCHAR"
        else f'"{name}"'
        for name, kind, *_ in columns
    )


def table_totals(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, Any]:
    """Rows of a relation, and the exact sum of each of its decimal columns."""
    names = [
        name
        for name, kind, *_ in connection.execute(f"describe {relation}").fetchall()
        if kind.startswith("DECIMAL")
    ]
    sums = "".join(f', sum("{name}")' for name in names)
    rows, *found = connection.execute(f"select count(*){sums} from {relation}").fetchall()[0]
    return {
        "rows": rows,
        "sums": {name: plain(value) for name, value in zip(names, found, strict=True)},
    }


def plain(value: Decimal | None) -> str | None:
    """A sum in full; None where nothing is known."""
    return None if value is None else f"{value:f}"


# The figures a reviewer signs, by currency. Each follows from one table alone, so that the packet's
# own files prove them, and one another.
_TOTALS = """
    select currency, 'billed_cost' as name, sum(billed_cost) as amount
    from {usage} where duplicate_of is null group by currency
    union all
    select currency, 'provider_cost', sum(provider_cost)
    from {usage} where duplicate_of is null group by currency
    union all
    select currency, 'list_cost', sum(list_cost)
    from {usage} where duplicate_of is null group by currency
    union all
    select currency, unnest(['direct_cost', 'shared_cost', 'adjustments', 'total_cost']),
        unnest([sum(direct_cost), sum(shared_cost), sum(adjustments), sum(total_cost)])
    from {chargeback} group by currency
    union all
    select currency, cost_kind || '_by_day', sum(amount) from {days} group by currency, cost_kind
    union all
    select currency, 'adjustments_by_day', sum(amount)
    from {chargeback_adjustments} group by currency
"""
_TOTALLED = ("usage", "chargeback", "days", "chargeback_adjustments")


def packet_totals(
    connection: duckdb.DuckDBPyConnection, names: Mapping[str, str] | None = None
) -> dict[str, dict[str, str]]:
    """The totals of a packet by currency and name; what is not known is left out.

    Args:
        names: Relation of each table; the temp tables of a packet being written by default.
    """
    relations = names or {name: f"packet_{name}" for name in _TOTALLED}
    totals: dict[str, dict[str, str]] = {}
    for currency, name, amount in connection.execute(
        f"select * from ({_TOTALS.format(**relations)}) where amount is not null order by all"
    ).fetchall():
        totals.setdefault(currency, {})[name] = f"{amount:f}"
    return totals


def contradictions(totals: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Totals of a packet that do not fit one another, in words."""
    found = []
    for currency, named in sorted(totals.items()):
        amounts = {name: Decimal(amount) for name, amount in named.items()}
        known = lambda name, of=amounts: of.get(name, Decimal(0))  # noqa: E731
        by_day = sum(
            (amount for name, amount in amounts.items() if name.endswith("_by_day")), Decimal(0)
        )
        parts = known("direct_cost") + known("shared_cost") + known("adjustments")
        for one, other, words in (
            (known("billed_cost"), known("usage_by_day"), "usage and days"),
            (known("adjustments"), known("adjustments_by_day"), "chargeback and its adjustments"),
            (parts, known("total_cost"), "the parts and the total of chargeback"),
            (by_day, known("total_cost"), "days with adjustments and chargeback"),
        ):
            if one != other:
                found.append(f"{words} differ by {one - other:f} {currency}")
    return found


def _write_manifest(
    folder: Path, sign_off: SignOff, tables: Mapping[str, Any], totals: Mapping[str, Any]
) -> str:
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.iterdir())
    }
    content = {**sign_off.content, "files": files, "tables": tables, "totals": totals}
    content[SELF] = hashlib.sha256(as_json(content)).hexdigest()
    (folder / MANIFEST).write_bytes(as_json(content))
    digest = file_sha256(folder / MANIFEST)
    (folder / SUMS).write_bytes(sums_text(files, digest))
    return digest


def sums_text(files: Mapping[str, Mapping[str, Any]], manifest_sha256: str) -> bytes:
    """The file that `sha256sum -c` reads."""
    hashes = {name: each["sha256"] for name, each in files.items()} | {MANIFEST: manifest_sha256}
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)).encode()


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
