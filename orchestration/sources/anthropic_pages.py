"""Results of Anthropic's usage and cost reports (reference read 2026-10)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context
from typing import Any

from orchestration.core.refusals import RefusedError, shown
from orchestration.core.values import at_money_scale, read_decimal
from orchestration.sources.openai_pages import PERSON, PLACE_FIELDS, check_bucket
from orchestration.sources.provider_fields import (
    ProviderField,
    read_fields,
    rename,
    table_of,
)
from orchestration.sources.records import Column, RawTable, Record, RecordContext

_EXACT = Context(prec=80)
MESSAGES = "messages"
COST_REPORT = "cost_report"
# Another report of the same money, after discount; it is kept and never added to the first.
ANALYTICS = "analytics_cost_report"

_BUCKET_FIELDS = (
    ProviderField("bucket_start_at", "time", ("starting_at",), is_required=True),
    ProviderField("bucket_end_at", "time", ("ending_at",), is_required=True),
)
_USAGE_DIMENSIONS = (
    ProviderField("provider_project_id", "id", ("workspace_id",)),
    ProviderField("provider_api_key_id", "id", ("api_key_id",)),
    ProviderField("service_account_id", "id"),
    ProviderField("model"),
    ProviderField("service_tier"),
    ProviderField("speed"),
    ProviderField("context_window"),
    ProviderField("inference_geo"),
)
_USAGE_FIELDS = (
    *_USAGE_DIMENSIONS,
    ProviderField("uncached_input_tokens", "count", is_required=True),
    ProviderField("cache_creation_5m_input_tokens", "count", is_required=True),
    ProviderField("cache_creation_1h_input_tokens", "count", is_required=True),
    ProviderField("cache_read_input_tokens", "count", is_required=True),
    ProviderField("output_tokens", "count", is_required=True),
    ProviderField("web_search_requests", "count"),
    ProviderField("web_fetch_requests", "count"),
)
_COST_DIMENSIONS = (
    ProviderField("provider_project_id", "id", ("workspace_id",)),
    ProviderField("description"),
    ProviderField("cost_type"),
    ProviderField("token_type"),
    ProviderField("model"),
    ProviderField("service_tier"),
    ProviderField("context_window"),
    ProviderField("inference_geo"),
    ProviderField("speed"),
    ProviderField("product"),
    ProviderField("rbac_group_id", "id"),
)
_COST_FIELDS = (
    *_COST_DIMENSIONS,
    ProviderField("amount_cents", "amount", ("amount",), is_required=True),
    ProviderField("list_amount_cents", "amount", ("list_amount",)),
    ProviderField("currency", "currency", is_required=True),
    ProviderField("requests", "count"),
)
_PARTS = {
    "cache_creation": {
        "ephemeral_5m_input_tokens": "cache_creation_5m_input_tokens",
        "ephemeral_1h_input_tokens": "cache_creation_1h_input_tokens",
    },
    "server_tool_use": {
        "web_search_requests": "web_search_requests",
        "web_fetch_requests": "web_fetch_requests",
    },
}
_ADDRESS = ("endpoint", "bucket_start_at", "bucket_end_at", "content_sha256", "bucket_position")
_ALL_USAGE_FIELDS = (*PLACE_FIELDS, *_BUCKET_FIELDS, *_USAGE_FIELDS)
_ALL_COST_FIELDS = (*PLACE_FIELDS, *_BUCKET_FIELDS, *_COST_FIELDS)
USAGE = table_of("anthropic__usage", _ALL_USAGE_FIELDS, key=_ADDRESS, event_at="bucket_start_at")
_COST_TABLE = table_of(
    "anthropic__costs", _ALL_COST_FIELDS, key=_ADDRESS, event_at="bucket_start_at"
)
COST_LINES = RawTable(
    name=_COST_TABLE.name,
    columns=(*_COST_TABLE.columns, Column("amount", "decimal(38, 18)")),
    key=_COST_TABLE.key,
    event_at=_COST_TABLE.event_at,
)


def is_page(document: Mapping[str, Any]) -> bool:
    """Whether a document is an envelope of Anthropic's: a list of buckets with a beginning."""
    return "object" not in document and all(
        isinstance(bucket, dict) and "starting_at" in bucket
        for bucket in document.get("data") or ()
    )


def endpoint_of(result: Mapping[str, Any]) -> str | None:
    """The report a result comes from, by the fields it has; None for one of neither."""
    if "uncached_input_tokens" in result:
        return MESSAGES
    if "amount" not in result:
        return None
    return ANALYTICS if "list_amount" in result else COST_REPORT


def flatten_usage(result: Mapping[str, Any]) -> dict[str, Any]:
    """A usage result by our names, its cache lifetimes and tools side by side.

    Raises:
        RefusedError: bad_type where one of them is no object.
    """
    flat = {name: value for name, value in result.items() if name not in _PARTS}
    for part, names in _PARTS.items():
        holder = result.get(part)
        if not isinstance(holder, dict | None):
            raise RefusedError("bad_type", f"expected an object, found {shown(holder)}", part)
        for theirs, value in (holder or {}).items():
            flat[names.get(theirs, f"{part}.{theirs}")] = value
    return rename(flat, (*_USAGE_FIELDS, PERSON))


def flatten_cost(result: Mapping[str, Any]) -> dict[str, Any]:
    """A cost result by our names."""
    return rename(result, _COST_FIELDS)


def usage_identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What may stand once in a bucket: the values of all dimensions."""
    return tuple(repr(row.get(field.name)) for field in (*_USAGE_DIMENSIONS, PERSON))


def cost_identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What may stand once in a bucket: the values of all dimensions."""
    return tuple(repr(row.get(field.name)) for field in _COST_DIMENSIONS)


def read_usage(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One result of the messages usage report.

    Grain: one row per bucket and all dimensions. Units: tokens, every kind beside the others;
    output includes reasoning. A null workspace is the default one, a null key the Workbench.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = read_fields(row, _ALL_USAGE_FIELDS, context)
    check_bucket(record)
    return record


def read_cost(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One line of the cost report.

    Grain: one row per UTC day, workspace and description. Units: amount_cents as written, amount
    in dollars: "123.45" is 1.2345.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = read_fields(row, _ALL_COST_FIELDS, context)
    if record.values["currency"] != "USD":
        reason = f"expected USD, found '{record.values['currency']}'"
        raise RefusedError("unsupported_currency", reason, "currency")
    # From the text, not from the stored cents: those are already rounded.
    cents = read_decimal(row["amount_cents"], "amount")
    record.values["amount"], _ = at_money_scale(_EXACT.scaleb(cents, -2))
    check_bucket(record, days=True)
    if cents < 0:
        record.codes.add("credit")
    return record
