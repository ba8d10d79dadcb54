"""Rows of OpenRouter's activity: what a day cost by model and endpoint, a control beside records.

Source: OpenRouter `GET /api/v1/activity`, read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestration.core.refusals import RefusedError
from orchestration.core.values import read_count, read_date, read_money, read_time
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

_TEXTS = ("model", "model_permaslug", "endpoint_id", "provider_name", "workspace_id")
_AMOUNTS = ("usage", "byok_usage_inference")
_COUNTS = (
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cached_tokens",
)
_KNOWN = frozenset({"date", "api_key_hash", "user_id", "observed_at", *_TEXTS, *_AMOUNTS, *_COUNTS})
REQUIRED = ("date", "model", "usage", "requests")

ACTIVITY = RawTable(
    name="openrouter__activity",
    columns=(
        Column("usage_at", "timestamp"),
        Column("api_key_id", "varchar"),
        Column("user_id", "varchar"),
        *(Column(name, "varchar") for name in _TEXTS),
        *(Column(name, "decimal(38, 18)") for name in _AMOUNTS),
        *(Column(name, "bigint") for name in _COUNTS),
        Column("observed_at", "timestamp"),
    ),
    key=(
        "usage_at",
        "api_key_id",
        "user_id",
        "model",
        "model_permaslug",
        "endpoint_id",
        "provider_name",
        "workspace_id",
    ),
    event_at="usage_at",
)


def read_activity(row: Mapping[str, Any], context: RecordContext) -> Record:
    """What one UTC day cost with one model at one endpoint.

    Grain: one row per day, model, endpoint, and key, user or workspace where it was asked by them.
    Units: amounts in USD, tokens, requests. `usage` is what OpenRouter charged,
    `byok_usage_inference` what the upstream provider charges on the customer's own key.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = Record(values={})
    values = record.values
    for name in REQUIRED:
        if row.get(name) in (None, ""):
            code = "missing_spend" if name == "usage" else "missing_field"
            raise RefusedError(code, "required and empty", name)
    values["usage_at"] = read_time(read_date(row["date"], "date"), "date")[0]
    if check_not_future(values["usage_at"], "date", context):
        record.codes.add("clock_skew")
    values["api_key_id"], was_raw = read_key_id(read_text(row, "api_key_hash", context))
    if was_raw:
        record.codes.add("raw_key_hashed")
    if context.keep_user_id:
        values["user_id"] = clean_text(read_text(row, "user_id", context))
    for name in _TEXTS:
        values[name] = clean_text(read_text(row, name, context))
    for name in _AMOUNTS:
        if row.get(name) not in (None, ""):
            values[name], lost = read_money(row[name], name)
            record.codes.update({"precision_rounded"} if lost else ())
    for name in _COUNTS:
        if row.get(name) not in (None, ""):
            values[name] = read_count(row[name], name)
    # A later answer about the same day replaces an earlier one.
    values["observed_at"] = context.stated_at
    if row.get("observed_at"):
        values["observed_at"] = read_time(row["observed_at"], "observed_at")[0]
    if not row.keys() <= _KNOWN:
        record.codes.add("schema_drift")
    return record
