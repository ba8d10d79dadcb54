"""Records of files whose shape is ours (contract, table T3): gateway counts, app requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from orchestration.core.refusals import RefusedError, shown, with_hashed_secrets
from orchestration.core.values import read_count, read_money, read_time
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
    "event": "timestamp",
    "id": "varchar",
    "currency": "varchar",
}
_CURRENCY = re.compile(r"[A-Z]{3}\Z")


@dataclass(frozen=True, slots=True)
class FieldRule:
    """How one field of our own file kinds is read.

    Attributes:
        type: text, id, key, count, money, currency, or event: a time that is not ahead.
    """

    name: str
    type: str
    is_required: bool = False


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


def _table(name: str, rules: tuple[FieldRule, ...], *, key: tuple[str, ...], at: str) -> RawTable:
    columns = tuple(Column(rule.name, _TYPES[rule.type]) for rule in rules)
    return RawTable(name=name, columns=columns, key=key, event_at=at)


GATEWAY_COUNTS = _table(
    "gateway__counts", GATEWAY_COUNT_FIELDS, key=("gateway", "hour_at", "model"), at="hour_at"
)
APP_REQUESTS = _table(
    "app__requests", APP_REQUEST_FIELDS, key=("gateway", "request_id"), at="occurred_at"
)


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
        record.values[rule.name] = _READERS[rule.type](row, rule.name, record, context)
    if not row.keys() <= {rule.name for rule in rules}:
        record.codes.add("schema_drift")
    return record


def _read_event(
    row: Mapping[str, Any], name: str, record: Record, context: RecordContext
) -> datetime:
    moment, naive = read_time(row[name], name)
    if naive:
        record.codes.add("naive_timestamp")
    if check_not_future(moment, name, context):
        record.codes.add("clock_skew")
    return moment


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
    "event": _read_event,
    "currency": _read_currency,
}
