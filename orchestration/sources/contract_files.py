"""Records of files whose shape is ours (contract, table T3), one row a record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from orchestration.core.refusals import RefusedError, shown, with_hashed_secrets
from orchestration.core.values import (
    read_count,
    read_date,
    read_money,
    read_signed_money,
    read_time,
)
from orchestration.sources.records import (
    Column,
    RawTable,
    Record,
    RecordContext,
    check_not_future,
    clean_text,
    read_key_id,
    read_text,
)

_TYPES = {
    "text": "varchar",
    "key": "varchar",
    "count": "bigint",
    "money": "decimal(38, 18)",
    "signed": "decimal(38, 18)",
    "event": "timestamp",
    "moment": "timestamp",
    "date": "date",
    "rate": "decimal(18, 12)",
    "id": "varchar",
    "currency": "varchar",
}
_CURRENCY = re.compile(r"[A-Z]{3}\Z")
_RATE_PLACES = Decimal(1).scaleb(-12)


@dataclass(frozen=True, slots=True)
class FieldRule:
    """How one field of our own file kinds is read.

    Attributes:
        type: text, id, key, count, money, signed (money of either sign), rate, currency, date,
            event (a time that is not ahead), or moment (one that may be).
        choices: The only words accepted, in lower case; empty for any.
    """

    name: str
    type: str
    is_required: bool = False
    choices: tuple[str, ...] = ()


GATEWAY_COUNT_FIELDS = (
    FieldRule("gateway", "text", is_required=True),
    FieldRule("hour_at", "event", is_required=True),
    FieldRule("hours", "count"),
    FieldRule("model", "text"),
    FieldRule("requests", "count", is_required=True),
    FieldRule("successful_requests", "count"),
    FieldRule("failed_requests", "count"),
    FieldRule("spend", "money"),
)
APP_REQUEST_FIELDS = (
    FieldRule("request_id", "id", is_required=True),
    FieldRule("gateway", "text", is_required=True),
    FieldRule("model", "text", is_required=True),
    FieldRule("occurred_at", "event", is_required=True),
    FieldRule("api_key_id", "key"),
    FieldRule("trace_id", "text"),
    FieldRule("status", "text"),
    FieldRule("http_status", "count"),
    FieldRule("input_tokens", "count"),
    FieldRule("cached_tokens", "count"),
    FieldRule("output_tokens", "count"),
    FieldRule("expected_cost", "money"),
    FieldRule("currency", "currency"),
    FieldRule("attempt", "count"),
)
WALLET_TRANSACTION_FIELDS = (
    FieldRule("transaction_id", "id", is_required=True),
    FieldRule("wallet_id", "text", is_required=True),
    FieldRule("occurred_at", "event", is_required=True),
    FieldRule(
        "type",
        "text",
        is_required=True,
        choices=(
            "checkout",
            "purchase",
            "topup",
            "deduction",
            "usage_debit",
            "manual",
            "adjustment",
            "refund",
            "usage_refund",
            "expiry",
        ),
    ),
    FieldRule("amount", "signed", is_required=True),
    FieldRule("currency", "currency", is_required=True),
    FieldRule("description", "text"),
    FieldRule("gross", "signed"),
    FieldRule("tax", "signed"),
    FieldRule("fee", "signed"),
    FieldRule("credited", "signed"),
    FieldRule("payment_reference", "id"),
    FieldRule("request_id", "id"),
    FieldRule("window_from_at", "moment"),
    FieldRule("window_to_at", "moment"),
    FieldRule("balance_after", "signed"),
    FieldRule("fx_rate", "rate"),
)
ADJUSTMENT_FIELDS = (
    FieldRule("adjustment_id", "text", is_required=True),
    FieldRule("wallet_id", "text", is_required=True),
    FieldRule("posted_at", "event", is_required=True),
    FieldRule("amount", "signed", is_required=True),
    FieldRule("currency", "currency", is_required=True),
    FieldRule(
        "kind",
        "text",
        is_required=True,
        choices=(
            "goodwill",
            "correction",
            "opening_balance",
            "expiry",
            "write_off",
            "usage_correction",
            "dev_grant",
        ),
    ),
    FieldRule("reason", "text", is_required=True),
    FieldRule("approved_by", "text", is_required=True),
    FieldRule("approval_ticket", "text"),
    FieldRule("related_request_id", "id"),
    FieldRule("reverses_adjustment_id", "text"),
)
RECHARGE_REQUEST_FIELDS = (
    FieldRule("recharge_id", "text", is_required=True),
    FieldRule("wallet_id", "text", is_required=True),
    FieldRule("requested_at", "event", is_required=True),
    FieldRule("amount", "money", is_required=True),
    FieldRule("currency", "currency", is_required=True),
    FieldRule(
        "trigger",
        "text",
        is_required=True,
        choices=("low_balance", "launch", "forecast", "manual"),
    ),
    FieldRule("threshold_amount", "signed"),
    FieldRule("soft_limit", "money"),
    FieldRule("hard_cap", "money"),
    FieldRule("remaining_balance", "signed"),
    FieldRule("quota_window", "text", choices=("day", "month", "none")),
    FieldRule("budget_owner", "text", is_required=True),
    FieldRule("team_id", "text"),
    FieldRule("project_id", "text"),
    FieldRule("cost_center", "text"),
    FieldRule("usage_from_at", "moment"),
    FieldRule("usage_to_at", "moment"),
    FieldRule("usage_scope_type", "text"),
    FieldRule("usage_scope_id", "text"),
    FieldRule("price_snapshot_id", "text"),
    FieldRule("invoice_period", "text"),
    FieldRule(
        "status",
        "text",
        is_required=True,
        choices=("requested", "approved", "rejected", "cancelled"),
    ),
    FieldRule("approval_ticket", "text"),
    FieldRule("reviewer", "text"),
    FieldRule("reviewed_at", "moment"),
    FieldRule("payment_reference", "id"),
    FieldRule("note", "text"),
)
DECISION_FIELDS = (
    FieldRule("decision_id", "text", is_required=True),
    FieldRule(
        "subject_type",
        "text",
        is_required=True,
        choices=(
            "exception",
            "exception_type",
            "invoice",
            "invoice_line",
            "recharge",
            "dispute",
            "batch",
            "api_key",
            "period",
        ),
    ),
    FieldRule("subject_id", "text", is_required=True),
    FieldRule(
        "decision",
        "text",
        is_required=True,
        choices=(
            "approve",
            "cap",
            "downgrade",
            "reroute",
            "split_key",
            "change_quota",
            "investigate",
            "dispute",
            "write_off",
            "reject",
        ),
    ),
    FieldRule("owner", "text", is_required=True),
    FieldRule("decided_at", "event", is_required=True),
    FieldRule("ticket", "text"),
    FieldRule(
        "related_type",
        "text",
        choices=("quota_alert", "recharge", "route_change", "budget", "exception"),
    ),
    FieldRule("related_id", "text"),
    FieldRule("amount", "signed"),
    FieldRule("currency", "currency"),
    FieldRule("valid_to_date", "date"),
    FieldRule("note", "text"),
    FieldRule("evidence_hashes", "text"),
)

# A close as Tollbook itself lands it: one row for the period, then what was frozen of it. Sums may
# be negative where they correct an earlier month, counts of requests too.
CLOSE_FIELDS = (
    FieldRule("close_id", "text", is_required=True),
    FieldRule("row_no", "count", is_required=True),
    FieldRule(
        "row_type",
        "text",
        is_required=True,
        choices=("period", "fact", "adjustment", "chargeback", "entry"),
    ),
    FieldRule("account_id", "text", is_required=True),
    FieldRule("billing_month", "text", is_required=True),
    FieldRule("closed_at", "event", is_required=True),
    FieldRule("row_count", "count"),
    FieldRule("reviewer", "text"),
    FieldRule("packet_sha256", "text"),
    FieldRule("ledger_digest", "text"),
    FieldRule("billed_cost", "signed"),
    FieldRule("adjustments_amount", "signed"),
    FieldRule("invoiced_amount", "signed"),
    FieldRule("billing_date", "date"),
    FieldRule("cost_kind", "text"),
    FieldRule("cost_center", "text"),
    FieldRule("team_id", "text"),
    FieldRule("project_id", "text"),
    FieldRule("environment", "text"),
    FieldRule("provider", "text"),
    FieldRule("model", "text"),
    FieldRule("currency", "currency"),
    FieldRule("amount", "signed"),
    FieldRule("direct_cost", "signed"),
    FieldRule("shared_cost", "signed"),
    FieldRule("adjustments", "signed"),
    FieldRule("allocation_rule", "text"),
    FieldRule("requests", "signed"),
    FieldRule("unpriced_requests", "signed"),
    FieldRule("unpriced_gateway_cost", "signed"),
    # Entries of the wallet's ledger, and how many there were.
    FieldRule("ledger_entries", "count"),
    FieldRule("wallet_id", "text"),
    FieldRule("entry_id", "text"),
    FieldRule("entry_month", "text"),
    FieldRule("entry_type", "text"),
    FieldRule("occurred_at", "moment"),
    FieldRule("happened_at", "moment"),
    FieldRule("payment_currency", "text"),
    FieldRule("gross", "signed"),
    FieldRule("tax", "signed"),
    FieldRule("fee", "signed"),
    FieldRule("net", "signed"),
    FieldRule("credited", "signed"),
    FieldRule("fx_rate", "rate"),
    FieldRule("reported_balance_after", "signed"),
    FieldRule("reference", "text"),
    FieldRule("payment_reference", "text"),
    FieldRule("has_payment", "text"),
    FieldRule("reverses_entry_id", "text"),
    FieldRule("description", "text"),
    FieldRule("request_id", "text"),
    FieldRule("gateway", "text"),
    FieldRule("window_from_at", "moment"),
    FieldRule("window_to_at", "moment"),
    FieldRule("origin", "text"),
    FieldRule("is_wallet_known", "text"),
)
# A document that was issued for an account or a team, with what stands on it.
STATEMENT_FIELDS = (
    FieldRule("statement_number", "text", is_required=True),
    FieldRule("account_id", "text", is_required=True),
    FieldRule("team_id", "text"),
    FieldRule("billing_month", "text", is_required=True),
    FieldRule(
        "kind",
        "text",
        is_required=True,
        choices=("statement", "receipt", "proforma", "statutory"),
    ),
    FieldRule("currency", "currency", is_required=True),
    FieldRule("subtotal", "signed", is_required=True),
    FieldRule("tax", "signed"),
    FieldRule("total", "signed", is_required=True),
    FieldRule("issued_at", "event", is_required=True),
    FieldRule("supersedes", "text"),
    FieldRule("content_sha256", "text", is_required=True),
    FieldRule("file_sha256", "text", is_required=True),
    FieldRule("csv_sha256", "text", is_required=True),
)


def _table(name: str, rules: tuple[FieldRule, ...], *, key: tuple[str, ...], at: str) -> RawTable:
    columns = tuple(Column(rule.name, _TYPES[rule.type]) for rule in rules)
    return RawTable(name=name, columns=columns, key=key, event_at=at)


GATEWAY_COUNTS = _table(
    "gateway__counts", GATEWAY_COUNT_FIELDS, key=("gateway", "hour_at", "model"), at="hour_at"
)
APP_REQUESTS = _table(
    "app__requests", APP_REQUEST_FIELDS, key=("gateway", "request_id"), at="occurred_at"
)
WALLET_TRANSACTIONS = _table(
    "wallet__transactions", WALLET_TRANSACTION_FIELDS, key=("transaction_id",), at="occurred_at"
)
ADJUSTMENTS = _table(
    "wallet__adjustments", ADJUSTMENT_FIELDS, key=("adjustment_id",), at="posted_at"
)
RECHARGE_REQUESTS = _table(
    "wallet__recharge_requests", RECHARGE_REQUEST_FIELDS, key=("recharge_id",), at="requested_at"
)
DECISIONS = _table("decisions__decisions", DECISION_FIELDS, key=("decision_id",), at="decided_at")
CLOSES = _table("closes__rows", CLOSE_FIELDS, key=("close_id", "row_no"), at="closed_at")
STATEMENTS = _table(
    "statements__statements", STATEMENT_FIELDS, key=("statement_number",), at="issued_at"
)


def required_of(rules: tuple[FieldRule, ...]) -> tuple[str, ...]:
    """The names of the required fields, in order."""
    return tuple(rule.name for rule in rules if rule.is_required)


def read_wallet_transaction(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One movement of a wallet as the gateway that keeps it recorded it.

    Grain: one row per gateway and transaction id. Units: money in `currency`, signed as written.

    Raises:
        RefusedError: a row code of the closed list.
    """
    return _read_fields(row, WALLET_TRANSACTION_FIELDS, context)


def read_adjustment(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One entry somebody made by hand, with who approved it.

    Grain: one row per adjustment id. Units: signed money in `currency`.

    Raises:
        RefusedError: a row code of the closed list.
    """
    if str(row.get("kind") or "").lower() == "writeoff":
        row = {**row, "kind": "write_off"}
    return _read_fields(row, ADJUSTMENT_FIELDS, context)


def read_recharge_request(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One request to top a wallet up, with its reason and its approval.

    Grain: one row per recharge id. Units: money in `currency`.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = _read_fields(row, RECHARGE_REQUEST_FIELDS, context)
    begin, end = (record.values.get(name) for name in ("usage_from_at", "usage_to_at"))
    if begin is not None and end is not None and end <= begin:
        raise RefusedError(
            "bad_timestamp", "the span of usage ends before it begins", "usage_to_at"
        )
    return record


def read_decision(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One decision of a reviewer about something the marts ask to be looked at.

    Grain: one row per decision id. Units: money in `currency`. `evidence_hashes` are those of the
    exceptions it was made about, comma-separated; `tollbook decide` writes them.

    Raises:
        RefusedError: a row code of the closed list.
    """
    was_raw = False
    if str(row.get("subject_type") or "").lower() == "api_key":
        key_id, was_raw = read_key_id(read_text(row, "subject_id", context))
        row = {**row, "subject_id": key_id}
    record = _read_fields(row, DECISION_FIELDS, context)
    if was_raw:
        record.codes.add("raw_key_hashed")
    return record


def read_close(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One row of a closed period: the period itself, or what was frozen of it.

    Grain: one row per close and row number. Units: money in `currency`, of either sign.

    Raises:
        RefusedError: a row code of the closed list.
    """
    return _read_fields(row, CLOSE_FIELDS, context)


def read_statement(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One document that was issued, by its number.

    Grain: one row per statement number. Units: money in `currency`, rounded to its minor unit.

    Raises:
        RefusedError: a row code of the closed list.
    """
    return _read_fields(row, STATEMENT_FIELDS, context)


def read_gateway_count(row: Mapping[str, Any], context: RecordContext) -> Record:
    """Requests of one gateway, hour and model, counted at the edge.

    Grain: one row per gateway, UTC hour and model. Units: requests; spend in USD. A gateway that
    counts longer spans than an hour says in `hours` how many the count covers from hour_at on.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = _read_fields(row, GATEWAY_COUNT_FIELDS, context)
    hour_at = record.values["hour_at"]
    if (hour_at.minute, hour_at.second, hour_at.microsecond) != (0, 0, 0):
        raise RefusedError("bad_timestamp", "expected the start of an hour", "hour_at")
    if record.values.get("hours", 1) not in (1, 24) or (
        record.values.get("hours") == 24 and hour_at.hour != 0
    ):
        raise RefusedError("bad_integer", "expected 1, or 24 from midnight on", "hours")
    return record


def read_app_request(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One request as the application that made it logged it.

    Grain: one row per gateway and request id. Units: tokens; expected_cost in `currency`.

    Raises:
        RefusedError: a row code of the closed list.
    """
    return _read_fields(row, APP_REQUEST_FIELDS, context)


def _read_fields(
    row: Mapping[str, Any], rules: tuple[FieldRule, ...], context: RecordContext
) -> Record:
    record = Record(values={})
    for rule in rules:
        value = row.get(rule.name)
        if value is None or (isinstance(value, str) and not value.strip()):
            if rule.is_required:
                code = "missing_request_id" if rule.name == "request_id" else "missing_field"
                raise RefusedError(code, "required and empty", rule.name)
            continue
        found = _READERS[rule.type](row, rule.name, record, context)
        record.values[rule.name] = _chosen(found, rule) if rule.choices else found
    if not row.keys() <= {rule.name for rule in rules}:
        record.codes.add("schema_drift")
    return record


def _chosen(word: str, rule: FieldRule) -> str:
    if word.lower() not in rule.choices:
        reason = f"expected one of {', '.join(rule.choices)}, found '{shown(word, 30)}'"
        raise RefusedError("bad_type", reason, rule.name)
    return word.lower()


def _read_event(
    row: Mapping[str, Any], name: str, record: Record, context: RecordContext
) -> datetime:
    moment, naive = read_time(row[name], name)
    if naive:
        record.codes.add("naive_timestamp")
    if check_not_future(moment, name, context):
        record.codes.add("clock_skew")
    return moment


def _read_moment(
    row: Mapping[str, Any], name: str, record: Record, _context: RecordContext
) -> datetime:
    moment, naive = read_time(row[name], name)
    if naive:
        record.codes.add("naive_timestamp")
    return moment


def _read_day(row: Mapping[str, Any], name: str, _record: Record, _context: RecordContext) -> date:
    return read_date(row[name], name)


def _read_signed(
    row: Mapping[str, Any], name: str, record: Record, _context: RecordContext
) -> Decimal:
    amount, lost = read_signed_money(row[name], name)
    if lost:
        record.codes.add("precision_rounded")
    return amount


def _read_rate(
    row: Mapping[str, Any], name: str, record: Record, context: RecordContext
) -> Decimal:
    rate = _read_signed(row, name, record, context)
    if not 0 < rate < 1_000_000:
        raise RefusedError("bad_number", f"no rate of exchange: {rate}", name)
    return rate.quantize(_RATE_PLACES)


def _read_amount(
    row: Mapping[str, Any], name: str, record: Record, _context: RecordContext
) -> Decimal:
    amount, lost = read_money(row[name], name)
    if lost:
        record.codes.add("precision_rounded")
    return amount


def _read_key(
    row: Mapping[str, Any], name: str, record: Record, context: RecordContext
) -> str | None:
    key_id, was_raw = read_key_id(read_text(row, name, context))
    if was_raw:
        record.codes.add("raw_key_hashed")
    return key_id


def _read_id(
    row: Mapping[str, Any], name: str, record: Record, context: RecordContext
) -> str | None:
    text = read_text(row, name, context)
    identity = None if text is None else with_hashed_secrets(text)
    if identity != text:
        record.codes.add("raw_key_hashed")
    return identity


def _read_currency(
    row: Mapping[str, Any], name: str, _record: Record, context: RecordContext
) -> str:
    currency = (read_text(row, name, context) or "").upper()
    if not _CURRENCY.match(currency):
        reason = f"expected a code like USD, found '{shown(currency, 8)}'"
        raise RefusedError("unsupported_currency", reason, name)
    return currency


_READERS: Mapping[str, Callable[[Mapping[str, Any], str, Record, RecordContext], Any]] = {
    "text": lambda row, name, _record, context: clean_text(read_text(row, name, context)),
    "id": _read_id,
    "key": _read_key,
    "count": lambda row, name, _record, _context: read_count(row[name], name),
    "money": _read_amount,
    "signed": _read_signed,
    "rate": _read_rate,
    "event": _read_event,
    "moment": _read_moment,
    "date": _read_day,
    "currency": _read_currency,
}
