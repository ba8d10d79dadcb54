"""Rows of LiteLLM's daily roll-ups: a control beside the spend logs, never a source of cost.

Source: LiteLLM proxy migrations and code, release 1.109.1, read 2026-11-21.
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
    clean_text,
    read_key_id,
    read_text,
)

_TEXTS = (
    "entity_id",
    "model",
    "model_group",
    "custom_llm_provider",
    "mcp_namespaced_tool_name",
    "endpoint",
)
_COUNTS = (
    "prompt_tokens",
    "completion_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "api_requests",
    "successful_requests",
    "failed_requests",
)
REQUIRED = ("id", "date", "api_key", "spend", "api_requests")

DAILY_SPEND = RawTable(
    name="litellm__daily_spend",
    columns=(
        Column("litellm_table", "varchar"),
        Column("row_id", "varchar"),
        Column("usage_at", "timestamp"),
        Column("api_key_id", "varchar"),
        *(Column(name, "varchar") for name in _TEXTS),
        Column("spend", "decimal(38, 18)"),
        *(Column(name, "bigint") for name in _COUNTS),
        Column("source_version_at", "timestamp"),
        Column("observed_at", "timestamp", is_content=False),
        Column("source_hash", "varchar", is_content=False),
    ),
    key=("litellm_table", "row_id", "usage_at"),
    event_at="usage_at",
)


def read_daily_spend(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One row of a daily roll-up: an entity's requests of a UTC day, key, model and endpoint.

    Grain: one row per table, row id and observation. Units: spend in USD, tokens, requests.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = Record(values={})
    values = record.values
    for name in ("id", "date"):
        if not row.get(name):
            raise RefusedError("missing_field", "required and empty", name)
    values["litellm_table"] = clean_text(read_text(row, "litellm_table", context))
    values["row_id"] = clean_text(read_text(row, "id", context))
    day = read_date(row["date"], "date")
    values["usage_at"] = read_time(day, "date")[0]
    values["api_key_id"], was_raw = read_key_id(read_text(row, "api_key", context))
    record.codes.update({"raw_key_hashed"} if was_raw else ())
    for name in _TEXTS:
        values[name] = clean_text(read_text(row, name, context))
    values["spend"] = read_money(row.get("spend"), "spend")[0]
    for name in _COUNTS:
        if row.get(name) not in (None, ""):
            values[name] = read_count(row[name], name)
    for ours, theirs in (("source_version_at", "updated_at"), ("observed_at", "observed_at")):
        if row.get(theirs):
            values[ours] = read_time(row[theirs], theirs)[0]
    values["source_hash"] = read_text(row, "source_hash", context)
    return record
