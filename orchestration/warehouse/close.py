"""`tollbook close`: a month signed off. The close is a landed file, so a rebuild repeats it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from orchestration.config import ConfigurationError, Runtime
from orchestration.core.refusals import shown
from orchestration.landing.write import land
from orchestration.warehouse.connection import quoted
from orchestration.warehouse.packet import (
    SignOff,
    folder_name,
    packet_folder,
    write_packet,
)
from orchestration.warehouse.packet_tables import DIMENSIONS, frozen_days_sql, month_after
from orchestration.warehouse.transform import CHECKED, MARTS, UNPUBLISHED, read_state

# The landing folder and kind of closes.
CLOSES = "closes"
_MONTH = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])\Z")
_COUNTS = ("requests", "unpriced_requests", "unpriced_gateway_cost")


@dataclass(frozen=True, slots=True)
class Blocking:
    """Open exceptions of one type that refuse a close; amount NULL where none is known."""

    exception_type: str
    exceptions: int
    amount: Decimal | None
    unknown: int
    currency: str
    suggested_action: str
    subject: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a month of an account is not closed: in words, or by the exceptions that are open."""

    account_id: str
    billing_month: str
    reason: str = ""
    blocking: tuple[Blocking, ...] = ()


class CloseRefusedError(RuntimeError):
    """Nothing was closed; each account says why."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        self.refusals = list(refusals)
        super().__init__("; ".join(_in_words(each) for each in refusals))


def _in_words(refusal: Refusal) -> str:
    where = f"account {refusal.account_id}, {refusal.billing_month}"
    if refusal.reason:
        return f"{where}: {refusal.reason}"
    named = ", ".join(f"{each.exceptions} {each.exception_type}" for each in refusal.blocking)
    return f"{where}: blocking exceptions are open: {named}"


@dataclass(frozen=True, slots=True)
class Closed:
    """A month that was closed: its packet, and what it comes to by currency."""

    account_id: str
    billing_month: str
    folder: Path
    packet_sha256: str
    landed: Path
    totals: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_month(text: str) -> str:
    """A month written YYYY-MM.

    Raises:
        ConfigurationError: it is none.
    """
    if not _MONTH.match(text):
        raise ConfigurationError(f"{shown(text)}: expected a month like 2026-10")
    return text


def close_periods(
    connection: duckdb.DuckDBPyConnection,
    runtime: Runtime,
    *,
    month: str,
    reviewer: str,
    account: str | None,
    progress: Callable[[str], None],
) -> list[Closed]:
    """Freeze a month of one account, or of every account that has it open.

    Each gets its packet, then its file in landing/closes; the marts follow with the next run. A
    kill in between leaves a packet that no close names, and the next close replaces it.

    Raises:
        CloseRefusedError: some account cannot be closed; then none is.
        ConfigurationError: there is no such month.
    """
    # It needs fonts and charts, which no other command does.
    from orchestration.warehouse.packet_report import render_reports

    if read_state(connection, MARTS) != CHECKED or read_state(connection, UNPUBLISHED) != "false":
        raise ConfigurationError(
            "the marts were not checked and published since they last changed; `tollbook run` "
            "does both"
        )
    accounts = _accounts(connection, month=month, account=account)
    refusals = [_refusal(connection, runtime, each, month) for each in accounts]
    if any(refusals):
        raise CloseRefusedError([each for each in refusals if each is not None])
    closed = []
    for account_id in accounts:
        sign_off = _sign_off(connection, runtime, account_id, month=month, reviewer=reviewer)
        folder = packet_folder(runtime.home, account_id, month)
        digest = write_packet(
            connection, folder, sign_off, render=render_reports, progress=progress
        )
        rows = _frozen_rows(connection, sign_off, digest)
        landed = _land(runtime.landing, sign_off, rows)
        totals = json.loads((folder / "manifest.json").read_bytes())["totals"]
        closed.append(Closed(account_id, month, folder, digest, landed, totals))
    return closed


def _accounts(
    connection: duckdb.DuckDBPyConnection, *, month: str, account: str | None
) -> list[str]:
    """The accounts to close: the one named, or all that have the month open."""
    if account is not None:
        return [account]
    found = connection.execute(
        "select account_id from marts.periods where billing_month = ? and status = 'open' "
        "order by 1",
        [month],
    ).fetchall()
    if not found:
        known = connection.execute(
            "select string_agg(distinct billing_month, ', ' order by billing_month) "
            "from marts.periods where status = 'open'"
        ).fetchall()[0][0]
        raise ConfigurationError(
            f"no account has {month} open; open are {known or 'none: nothing was loaded'}"
        )
    return [account_id for (account_id,) in found]


def _refusal(
    connection: duckdb.DuckDBPyConnection, runtime: Runtime, account: str, month: str
) -> Refusal | None:
    rows = connection.execute(
        "select billing_month, status, reviewer, closed_at, packet_sha256 from marts.periods "
        "where account_id = ? and billing_month <= ? order by 1",
        [account, month],
    ).fetchall()
    reason = _reason(rows, account=account, month=month)
    if not reason:
        end = datetime.fromisoformat(f"{month_after(month)}-01").replace(
            tzinfo=ZoneInfo(_zone(connection, account))
        )
        if runtime.as_of.replace(tzinfo=UTC) < end:
            reason = f"the month ends at {end.astimezone(UTC):%Y-%m-%d %H:%M} UTC; close it then"
    if reason:
        return Refusal(account, month, reason)
    blocking = _blocking(connection, account=account, month=month)
    return Refusal(account, month, blocking=tuple(blocking)) if blocking else None


def _reason(rows: Sequence[tuple[Any, ...]], *, account: str, month: str) -> str:
    by_month = {row[0]: row for row in rows}
    if month not in by_month:
        return f'nothing is known of it; `tollbook query "from marts.periods"` lists {account}'
    _, status, reviewer, closed_at, packet = by_month[month]
    if status == "closed" and packet:
        return f"closed already, by {reviewer} on {closed_at:%Y-%m-%d}; packet {packet}"
    if status == "closed":
        return "closed elsewhere: accounts.closed_through says so"
    earlier = [each for each, state, *_ in rows if each < month and state == "open"]
    return f"{earlier[0]} is open; close it first" if earlier else ""


def _zone(connection: duckdb.DuckDBPyConnection, account: str) -> str:
    rows = connection.execute(
        "select time_zone from reference.accounts where account_id = ?", [account]
    ).fetchall()
    return rows[0][0] if rows else "UTC"


def _blocking(connection: duckdb.DuckDBPyConnection, *, account: str, month: str) -> list[Blocking]:
    return [
        Blocking(*row)
        for row in connection.execute(
            """
            select exception_type, count(*), sum(amount_at_stake),
                count(*) - count(amount_at_stake), currency, min(suggested_action),
                min(exception_id)
            from marts.exceptions
            where blocking and status = 'open' and account_id = ? and billing_month = ?
            group by exception_type, currency
            order by sum(amount_at_stake) desc nulls last, 1, 5
            """,
            [account, month],
        ).fetchall()
    ]


def _sign_off(
    connection: duckdb.DuckDBPyConnection,
    runtime: Runtime,
    account: str,
    *,
    month: str,
    reviewer: str,
) -> SignOff:
    ((currency,),) = connection.execute(
        "select currency from marts.periods where account_id = ? and billing_month = ?",
        [account, month],
    ).fetchall()
    return SignOff(
        account_id=account,
        billing_month=month,
        currency=currency,
        time_zone=_zone(connection, account),
        reviewer=reviewer,
        closed_at=runtime.as_of.replace(microsecond=0),
    )


# ---------------------------------------------------------------- what is frozen


def _frozen_rows(
    connection: duckdb.DuckDBPyConnection, sign_off: SignOff, packet_sha256: str
) -> list[dict[str, Any]]:
    """The rows of a close: the period, its days, corrections, chargeback and wallet entries."""
    account, month = sign_off.account_id, sign_off.billing_month
    where = f"account_id = {quoted(account)} and billing_month = {quoted(month)}"
    dimensions = ", ".join(DIMENSIONS)
    parts = {
        "fact": frozen_days_sql(where),
        "adjustment": f"""
            select adjusted_date as billing_date, cost_kind, {dimensions}, currency, amount,
                {", ".join(_COUNTS)}
            from marts.chargeback_adjustments where {where} order by all
            """,
        "chargeback": f"""
            select {dimensions}, currency, direct_cost, shared_cost, adjustments,
                allocation_rule, {", ".join(_COUNTS)}
            from marts.chargeback where {where} order by all
            """,
        "entry": _entries_sql(connection, account=account, month=month),
    }
    rows = [{"row_type": "period", **_period(connection, sign_off, packet_sha256, where)}]
    for row_type, sql in parts.items():
        found = connection.execute(sql)
        names = [name for name, *_ in found.description or ()]
        for values in found.fetchall():
            named = dict(zip(names, values, strict=True))
            kept = {name: _text(each) for name, each in named.items() if each is not None}
            rows.append({"row_type": row_type, **kept})
    rows[0]["row_count"] = len(rows)
    rows[0]["ledger_entries"] = sum(row["row_type"] == "entry" for row in rows)
    common = {
        "account_id": account,
        "billing_month": month,
        "closed_at": sign_off.content["closed_at"],
    }
    close_id = hashlib.sha256(json.dumps([common, *rows], sort_keys=True).encode()).hexdigest()
    return [
        {"close_id": close_id, "row_no": number, **common, **row}
        for number, row in enumerate(rows, start=1)
    ]


def _entries_sql(connection: duckdb.DuckDBPyConnection, *, account: str, month: str) -> str:
    """The wallet's entries up to the month's end that no earlier close froze.

    An opening balance is the user's own, in wallets.csv.
    """
    ((closed,),) = connection.execute(
        "select max(billing_month) from staging.stg_closes__rows "
        "where account_id = ? and row_type = 'period' and ledger_entries is not null",
        [account],
    ).fetchall()
    return f"""
        select * exclude (account_id, billing_month, balance_after), billing_month as entry_month
        from marts.wallet_ledger
        where account_id = {quoted(account)} and origin <> 'opening'
            and billing_month > {quoted(closed or "")} and billing_month <= {quoted(month)}
        order by entry_id
        """


def _period(
    connection: duckdb.DuckDBPyConnection, sign_off: SignOff, packet_sha256: str, where: str
) -> dict[str, Any]:
    ((billed, adjustments, invoiced),) = connection.execute(
        f"select billed_cost, adjustments_amount, invoiced_amount from marts.periods where {where}"
    ).fetchall()
    digest = _ledger_digest(connection, sign_off)
    figures = {
        "currency": sign_off.currency,
        "reviewer": sign_off.reviewer,
        "packet_sha256": packet_sha256,
        "ledger_digest": digest,
        "billed_cost": billed,
        "adjustments_amount": adjustments,
        "invoiced_amount": invoiced,
    }
    return {name: _text(value) for name, value in figures.items() if value is not None}


def _ledger_digest(connection: duckdb.DuckDBPyConnection, sign_off: SignOff) -> str | None:
    """The digest of the wallet's ledger up to the month's end; None without a ledger.

    It is that of marts.wallet_months. Of several wallets listed under one account it is the digest
    of theirs, in the order of their names.
    """
    digests = connection.execute(
        """
        select arg_max(ledger_digest, billing_month) from marts.wallet_months
        where billing_month <= $month and (
            account_id = $account or wallet_id in (
                select wallet_id from reference.accounts where account_id = $account
            )
        )
        group by wallet_id order by wallet_id
        """,
        {"account": sign_off.account_id, "month": sign_off.billing_month},
    ).fetchall()
    if len(digests) < 2:
        return digests[0][0] if digests else None
    return hashlib.sha256("".join(digest for (digest,) in digests).encode()).hexdigest()


def _text(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return f"{value.isoformat()}Z"
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, int | str) else str(value)


def _land(landing: Path, sign_off: SignOff, rows: list[dict[str, Any]]) -> Path:
    """Put the close into landing, whole or not at all."""
    folder = landing / CLOSES
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{folder_name(sign_off.account_id)}-{sign_off.billing_month}"
    part = folder / f".{stem}.{os.getpid()}.part"
    lines = (json.dumps(row, sort_keys=True, ensure_ascii=False) for row in rows)
    part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    target = folder / f"{stem}-{rows[0]['close_id'][:12]}.jsonl"
    land(part, target)
    return target


__all__ = [
    "CloseRefusedError",
    "Closed",
    "Refusal",
    "close_periods",
    "read_month",
]
