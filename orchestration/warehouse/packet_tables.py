"""What a packet holds: the tables of one account and month, as SQL over the warehouse."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import duckdb

from orchestration.warehouse.connection import quoted

DIMENSIONS = ("cost_center", "team_id", "project_id", "environment", "provider", "model")
_BY = ", ".join(DIMENSIONS)
# Detail that may end before a packet does (`tollbook forget`, `retention`), and lineage, which
# depends on the order in which files came.
_NOT_EXPORTED = (
    "user_id",
    "customer_id",
    "session_id",
    "trace_id",
    "client_ip",
    "user_agent",
    "load_batch_id",
    "source",
    "source_file",
    "source_line",
)
# Marts that go into a packet where this version has them, with the column their month is found by
# where they have no billing_month.
_OF_MONTH = {
    "exceptions": "billing_month",
    "wallet_ledger": "billing_month",
    "accruals": "billing_month",
    "chargeback_adjustments": "billing_month",
    "request_reconciliation": "occurred_at",
    "provider_reconciliation": "provider_date",
    "wallet_reconciliation": "window_from_at",
    "disputes": "occurred_at",
    "budgets": "period_start_date",
}
# A vendor's name as a gateway is called in tollbook.yml.
_VENDOR = "replace(lower(vendor), ' ', '_')"
_OF_INVOICES = ("invoice_lines", "invoice_reconciliation")


@dataclass(frozen=True, slots=True)
class PacketTable:
    """One table of a packet.

    Attributes:
        name: Its files are called so, with .parquet and .csv behind it.
        title: What a row is, for people.
        sql: Its rows; the order is part of it.
    """

    name: str
    title: str
    sql: str


def month_after(month: str) -> str:
    """The calendar month after one written YYYY-MM."""
    first = date.fromisoformat(f"{month}-01")
    return f"{first + timedelta(days=31):%Y-%m}"


def packet_tables(
    connection: duckdb.DuckDBPyConnection, *, account: str, month: str
) -> list[PacketTable]:
    """The tables of one account and month; those of marts this version lacks are left out."""
    columns = _columns(connection)
    where = f"account_id = {quoted(account)} and billing_month = {quoted(month)}"
    found = [
        _usage(columns["usage_records"], account=account, month=month),
        PacketTable(
            "chargeback",
            "What each owner bears",
            f"""
            select billing_month, account_id, {_BY}, currency, direct_cost, shared_cost,
                adjustments, total_cost, allocation_rule, requests, unpriced_requests,
                unpriced_gateway_cost
            from marts.chargeback where {where} order by all
            """,
        ),
        PacketTable("days", "Cost by day, kind and owner", frozen_days_sql(where)),
        _prices(account=account, month=month),
        _invoices(account=account, month=month),
        *_invoice_tables(columns, account=account, month=month),
        _recharges(account=account, month=month),
        *_month_tables(columns, account=account, month=month),
        _decisions(account=account, month=month),
        *(
            PacketTable(name, title, f"select * from reference.{name} order by all")
            for name, title in (
                ("markup_rules", "Markup rules"),
                ("contract_prices", "Contract prices"),
                ("shared_cost_rules", "How shared costs are spread"),
            )
        ),
    ]
    return sorted(found, key=lambda table: table.name)


def frozen_days_sql(where: str) -> str:
    """The facts that a close freezes: cost by day, kind of cost and owner."""
    return f"""
        select billing_date, cost_kind, {_BY}, currency,
            cast(sum(amount) as decimal(38, 18)) as amount,
            cast(sum(requests) as bigint) as requests,
            cast(sum(unpriced_requests) as bigint) as unpriced_requests,
            cast(sum(unpriced_gateway_cost) as decimal(38, 18)) as unpriced_gateway_cost
        from intermediate.int_chargeback__facts where {where}
        group by all order by all
        """


def _columns(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(
        "select table_name, column_name from duckdb_columns() "
        "where schema_name = 'marts' and database_name = current_database() order by column_index"
    ).fetchall():
        columns.setdefault(table, []).append(column)
    return columns


def _days_of(month: str) -> str:
    """A filter on UTC days that leaves no day of the month out, whatever the time zone."""
    first = date.fromisoformat(f"{month}-01") - timedelta(days=1)
    last = date.fromisoformat(f"{month_after(month)}-01")
    return f"usage_date between date '{first}' and date '{last}'"


def _usage(columns: list[str], *, account: str, month: str) -> PacketTable:
    kept = [f'"{name}"' for name in columns if name not in _NOT_EXPORTED]
    return PacketTable(
        "usage",
        "Usage records",
        f"""
        select {", ".join(kept)} from marts.usage_records
        where account_id = {quoted(account)} and billing_month = {quoted(month)}
            and {_days_of(month)}
        order by usage_record_id
        """,
    )


def _prices(*, account: str, month: str) -> PacketTable:
    return PacketTable(
        "price_snapshots",
        "Prices that were used",
        f"""
        select * from marts.price_snapshots
        where price_id in (
            select price_id from marts.cost_lines
            where {_days_of(month)} and usage_record_id in (
                select usage_record_id from marts.usage_records
                where account_id = {quoted(account)} and billing_month = {quoted(month)}
                    and {_days_of(month)}
            )
        )
        order by all
        """,
    )


def invoice_keys_sql(*, account: str, month: str) -> str:
    """Vendor and number of the invoices of an account that reach into a month.

    They are those of its provider accounts, of its gateways, and receipts of its wallet's top-ups.
    One that names no provider account is that of whoever used its provider; of a vendor nobody
    knows it is listed under the account `unassigned`, where its exceptions are.
    """
    used = f"""
        from marts.usage_records
        where account_id = {quoted(account)} and billing_month = {quoted(month)}
            and {_days_of(month)}
        """
    unknown = f"""
                or ({quoted(account)} = 'unassigned' and is_usage
                    and (vendor, invoice_number) not in (
                        select vendor, invoice_number from marts.invoice_reconciliation
                        where provider is not null or provider_account_id is not null
                    )
                    and {_VENDOR} not in (select gateway from marts.usage_records))
        """
    return f"""
        select vendor, invoice_number from marts.invoices
        where coalesce(period_start, cast(issued_at as date)) < date '{month_after(month)}-01'
            and coalesce(period_end, cast(issued_at as date)) >= date '{month}-01'
            and (
                provider_account_id in ({_provider_accounts(account, month)})
                or (vendor, invoice_number) in (
                    select vendor, invoice_number from marts.invoice_reconciliation
                    where provider_account_id in ({_provider_accounts(account, month)})
                        or (provider_account_id is null and provider in (select provider {used}))
                )
                or (provider_account_id is null and {_VENDOR} in (select gateway {used}))
                or (not is_usage and invoice_number in (
                    select unnest([reference, payment_reference]) from marts.wallet_ledger
                    where account_id = {quoted(account)} and entry_type = 'purchase'
                ))
                {unknown}
            )
        """


def _provider_accounts(account: str, month: str) -> str:
    return f"""
        select provider_account_id from marts.usage_records
        where account_id = {quoted(account)} and billing_month = {quoted(month)}
            and {_days_of(month)}
        """


def _invoices(*, account: str, month: str) -> PacketTable:
    keys = invoice_keys_sql(account=account, month=month)
    return PacketTable(
        "invoices",
        "Invoices",
        f"select * from marts.invoices where (vendor, invoice_number) in ({keys}) order by all",
    )


def _invoice_tables(
    columns: dict[str, list[str]], *, account: str, month: str
) -> list[PacketTable]:
    keys = invoice_keys_sql(account=account, month=month)
    return [
        PacketTable(
            name,
            name.replace("_", " ").capitalize(),
            f"select * from marts.{name} where (vendor, invoice_number) in ({keys}) order by all",
        )
        for name in _OF_INVOICES
        if name in columns
    ]


def _recharges(*, account: str, month: str) -> PacketTable:
    return PacketTable(
        "recharges",
        "Top-ups and their approvals",
        f"""
        select * from marts.recharges
        where account_id = {quoted(account)} and (
            strftime(requested_at, '%Y-%m') = {quoted(month)}
            or invoice_period = {quoted(month)}
            or ledger_entry_id in (
                select entry_id from marts.wallet_ledger
                where account_id = {quoted(account)} and billing_month = {quoted(month)}
            )
        )
        order by all
        """,
    )


def _month_tables(columns: dict[str, list[str]], *, account: str, month: str) -> list[PacketTable]:
    tables = []
    for name, column in _OF_MONTH.items():
        known = columns.get(name, ())
        if "account_id" in known:
            of_account = f"account_id = {quoted(account)}"
        elif "provider_account_id" in known:
            of_account = f"provider_account_id in ({_provider_accounts(account, month)})"
        else:
            # Whose its rows are is not said, and nobody's packet holds what is another's.
            continue
        if "billing_month" in known:
            in_month = f"billing_month = {quoted(month)}"
        elif column in known:
            in_month = f"strftime({column}, '%Y-%m') = {quoted(month)}"
        else:
            continue
        title = name.replace("_", " ").capitalize()
        sql = f"select * from marts.{name} where {of_account} and {in_month} order by all"
        tables.append(PacketTable(name, title, sql))
    return tables


def _decisions(*, account: str, month: str) -> PacketTable:
    """Decisions about what is in the packet; of an invoice also by its line."""
    of_period = f"{account}/{month}"
    keys = invoice_keys_sql(account=account, month=month)
    return PacketTable(
        "decisions",
        "Decisions of reviewers",
        f"""
        select decision_id, subject_type, subject_id, decision, owner, decided_at, ticket,
            related_type, related_id, amount, currency, valid_to_date, note
        from staging.stg_decisions__decisions
        where (
                subject_type = 'exception' and subject_id in (
                    select exception_id from marts.exceptions
                    where account_id = {quoted(account)} and billing_month = {quoted(month)}
                )
            )
            or (
                subject_type = 'exception_type'
                and ends_with(subject_id, {quoted(f"/{of_period}")})
            )
            or (subject_type = 'period' and subject_id = {quoted(of_period)})
            or (
                subject_type in ('invoice', 'invoice_line') and exists (
                    select 1 from ({keys}) as keys
                    where starts_with(
                        subject_id || '/', keys.vendor || '/' || keys.invoice_number || '/'
                    )
                )
            )
            or (
                subject_type = 'recharge' and subject_id in (
                    select recharge_id from marts.recharges where account_id = {quoted(account)}
                ) and strftime(decided_at, '%Y-%m') <= {quoted(month_after(month))}
            )
        order by decision_id
        """,
    )
