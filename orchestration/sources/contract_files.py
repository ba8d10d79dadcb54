"""Records of files whose shape is ours (contract, table T3): gateway counts, app requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestration.core.refusals import RefusedError
from orchestration.core.values import at_money_scale, read_count, read_decimal, read_time
from orchestration.sources.records import (
    Column,
    RawTable,
    Record,
    RecordContext,
    clean_text,
    read_key_id,
    read_text,
)

_TYPES = {
    "text": "varchar",
    "key": "varchar",
    "count": "bigint",
    "money": "decimal(38, 18)",
    "time": "timestamp",
}


@dataclass(frozen=True, slots=True)
class FieldRule:
    """How one field of our own file kinds is read."""

    name: str
    type: str
    is_required: bool = False


GATEWAY_COUNT_FIELDS = (
    FieldRule("gateway", "text", is_required=True),
    FieldRule("hour_at", "time", is_required=True),
    FieldRule("model", "text"),
    FieldRule("requests", "count", is_required=True),
    FieldRule("successful_requests", "count"),
    FieldRule("failed_requests", "count"),
    FieldRule("spend", "money"),
)
APP_REQUEST_FIELDS = (
    FieldRule("request_id", "text", is_required=True),
    FieldRule("gateway", "text", is_required=True),
    FieldRule("model", "text", is_required=True),
    FieldRule("occurred_at", "time", is_required=True),
    FieldRule("api_key_id", "key"),
    FieldRule("trace_id", "text"),
    FieldRule("status", "text"),
    FieldRule("http_status", "count"),
    FieldRule("input_tokens", "count"),
    FieldRule("cached_tokens", "count"),
    FieldRule("output_tokens", "count"),
    FieldRule("expected_cost", "money"),
    FieldRule("currency", "text"),
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

    Grain: one row per gateway, UTC hour and model. Units: requests; spend in USD.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = _read_fields(row, GATEWAY_COUNT_FIELDS, context)
    hour_at = record.values["hour_at"]
    if (hour_at.minute, hour_at.second, hour_at.microsecond) != (0, 0, 0):
        raise RefusedError("bad_timestamp", "expected the start of an hour", "hour_at")
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
        if value is None or value == "":
            if rule.is_required:
                code = "missing_request_id" if rule.name == "request_id" else "missing_field"
                raise RefusedError(code, "required and empty", rule.name)
            continue
        record.values[rule.name] = _read_field(row, rule, record, context)
    if not row.keys() <= {rule.name for rule in rules}:
        record.codes.add("schema_drift")
    return record


def _read_field(
    row: Mapping[str, Any], rule: FieldRule, record: Record, context: RecordContext
) -> Any:
    value = row[rule.name]
    if rule.type == "time":
        moment, naive = read_time(value, rule.name)
        if naive:
            record.codes.add("naive_timestamp")
        return moment
    if rule.type == "count":
        return read_count(value, rule.name)
    if rule.type == "money":
        amount, lost = at_money_scale(
            read_decimal(repr(value) if isinstance(value, float) else value, rule.name)
        )
        if lost:
            record.codes.add("precision_rounded")
        return amount
    text = read_text(row, rule.name, context)
    if rule.type == "key":
        key_id, was_raw = read_key_id(text)
        if was_raw:
            record.codes.add("raw_key_hashed")
        return key_id
    return clean_text(text)
