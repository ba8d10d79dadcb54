"""Results of OpenAI's organization usage and costs APIs (reference read 2026-10)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import Any

from orchestration.core.refusals import RefusedError
from orchestration.sources.provider_fields import ProviderField, read_fields, rename, table_of
from orchestration.sources.records import Record, RecordContext

COSTS = "costs"
# Where a line of the console's cost export comes from: the same money, in fewer dimensions.
COST_EXPORT = "cost_export"
# Columns of that export (read 2026-11); the spans also stand in it as text.
EXPORT_COLUMNS = ("start_time", "end_time", "amount_value", "amount_currency", "line_item")
# Usage endpoints with the measures each must state; an absent one is not zero.
USAGE_MEASURES: Mapping[str, tuple[str, ...]] = {
    "completions": ("input_tokens", "output_tokens", "num_model_requests"),
    "decisions": (),
    "embeddings": ("input_tokens", "num_model_requests"),
    "moderations": ("input_tokens", "num_model_requests"),
    "images": ("images", "num_model_requests"),
    "audio_speeches": ("characters", "num_model_requests"),
    "audio_transcriptions": ("seconds", "num_model_requests"),
    "vector_stores": ("usage_bytes",),
    "code_interpreter_sessions": ("num_sessions",),
    "file_search_calls": ("num_requests",),
    "web_search_calls": ("num_requests",),
}
# Two endpoints name their results otherwise than themselves.
_ENDPOINT_OF_OBJECT = {
    **{f"organization.usage.{name}.result": name for name in USAGE_MEASURES},
    "organization.usage.file_searches.result": "file_search_calls",
    "organization.usage.web_searches.result": "web_search_calls",
    "organization.costs.result": COSTS,
}
# Where a result stood; written by the reader of pages, never by the source.
PLACE_FIELDS = (
    ProviderField("endpoint", is_required=True),
    ProviderField("content_sha256", is_required=True),
    ProviderField("bucket_position", "position", is_required=True),
    # Tells results apart, also by the ids of people, which are not kept.
    ProviderField("dimensions_sha256", is_required=True),
)
_BUCKET_FIELDS = (
    ProviderField("bucket_start_at", "unix", ("start_time",), is_required=True),
    ProviderField("bucket_end_at", "unix", ("end_time",), is_required=True),
)
_OWNER_FIELDS = (
    ProviderField("provider_project_id", "id", ("project_id",)),
    ProviderField("provider_api_key_id", "id", ("api_key_id",)),
)
# Tells results apart and is not kept: whose usage it was, gateways say by their own ids.
PERSON = ProviderField("provider_user_id", "id", ("user_id", "account_id"))
_USAGE_DIMENSIONS = (
    *_OWNER_FIELDS,
    ProviderField("model"),
    ProviderField("is_batch", "flag", ("batch",)),
    ProviderField("service_tier"),
    ProviderField("api_source"),
    ProviderField("image_size", "text", ("size",)),
    ProviderField("image_source", "text", ("source",)),
    ProviderField("vector_store_id", "id"),
    ProviderField("context_level"),
)
_USAGE_COUNTS = (
    "input_tokens",
    "input_cached_tokens",
    "input_uncached_tokens",
    "input_cache_write_tokens",
    "input_cache_write_30m_tokens",
    "input_cache_write_12h_tokens",
    "input_text_tokens",
    "input_audio_tokens",
    "input_image_tokens",
    "input_cached_text_tokens",
    "input_cached_audio_tokens",
    "input_cached_image_tokens",
    "output_tokens",
    "output_text_tokens",
    "output_audio_tokens",
    "output_image_tokens",
    "num_model_requests",
    "images",
    "characters",
    "usage_bytes",
    "num_sessions",
    "num_requests",
)
_USAGE_FIELDS = (
    *_USAGE_DIMENSIONS,
    *(ProviderField(name, "count") for name in _USAGE_COUNTS),
    ProviderField("seconds", "number"),
)
_COST_DIMENSIONS = (
    *_OWNER_FIELDS,
    ProviderField("line_item"),
    ProviderField("api_source"),
)
_COST_FIELDS = (
    *_COST_DIMENSIONS,
    ProviderField("amount", "amount", is_required=True),
    ProviderField("currency", "currency", is_required=True),
    ProviderField("quantity", "number"),
    ProviderField("quantity_unit"),
)
# Names and addresses beside the ids; the ids are enough.
_IGNORED = frozenset(
    {
        "object",
        "organization_id",
        "organization_name",
        "start_time_iso",
        "end_time_iso",
        "project_name",
        "user_email",
        "user_name",
        "api_key_name",
    }
)
_ADDRESS = ("endpoint", "bucket_start_at", "bucket_end_at", "content_sha256", "bucket_position")
_ALL_USAGE_FIELDS = (*PLACE_FIELDS, *_BUCKET_FIELDS, *_USAGE_FIELDS)
_ALL_COST_FIELDS = (*PLACE_FIELDS, *_BUCKET_FIELDS, *_COST_FIELDS)
USAGE = table_of("openai__usage", _ALL_USAGE_FIELDS, key=_ADDRESS, event_at="bucket_start_at")
COST_LINES = table_of("openai__costs", _ALL_COST_FIELDS, key=_ADDRESS, event_at="bucket_start_at")


def is_page(document: Mapping[str, Any]) -> bool:
    """Whether a document is an envelope of OpenAI's: `page` around a list of `bucket`s."""
    return document.get("object") == "page" and all(
        isinstance(bucket, dict) and bucket.get("object", "bucket") == "bucket"
        for bucket in document.get("data") or ()
    )


def endpoint_of(result: Mapping[str, Any]) -> str | None:
    """The endpoint a result comes from, by what it says it is; None where it does not say."""
    if "object" not in result and "amount" in result:
        return COSTS
    return _ENDPOINT_OF_OBJECT.get(str(result.get("object")))


def bucket_of_export(row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A line of the console's cost export as bucket and result of the costs API.

    A day without use is a line of which only the span is filled: a bucket without a result.
    """
    bucket = {name: _whole(row.get(name)) for name in ("start_time", "end_time")}
    spans = {*bucket, "start_time_iso", "end_time_iso"}
    result = {name: value for name, value in row.items() if name not in spans}
    if all(value in (None, "") for value in result.values()):
        return bucket, None
    amount = {part: result.pop(f"amount_{part}", None) for part in ("value", "currency")}
    stated = {name: value or None for name, value in amount.items()}
    # Named, for a result without a name is taken for one of the API.
    return bucket, {**result, "object": COST_EXPORT, "amount": stated}


def _whole(value: object) -> object:
    """Digits as the number they are in an answer of the API; anything else as it is."""
    is_number = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16
    return int(str(value)) if is_number else value


def flatten_usage(result: Mapping[str, Any]) -> dict[str, Any]:
    """A usage result by our names."""
    return rename(result, (*_USAGE_FIELDS, PERSON), ignored=_IGNORED.__contains__)


def flatten_cost(result: Mapping[str, Any]) -> dict[str, Any]:
    """A cost result by our names, its amount taken out of its object.

    Raises:
        RefusedError: bad_type where the amount is no object of value and currency.
    """
    amount = result.get("amount")
    if not isinstance(amount, dict | None):
        raise RefusedError("bad_type", "expected an object of value and currency", "amount")
    parts = (
        {}
        if amount is None
        else {"amount": amount.get("value")} | {"currency": amount.get("currency")}
    )
    others = {name: value for name, value in result.items() if name != "amount"}
    return rename({**others, **parts}, (*_COST_FIELDS, PERSON), ignored=_IGNORED.__contains__)


def usage_identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What may stand once in a bucket: the values of all dimensions."""
    return tuple(repr(row.get(field.name)) for field in (*_USAGE_DIMENSIONS, PERSON))


def cost_identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What may stand once in a bucket: the values of all dimensions."""
    return tuple(repr(row.get(field.name)) for field in (*_COST_DIMENSIONS, PERSON))


def read_usage(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One result of a usage endpoint.

    Grain: one row per bucket and all dimensions of its endpoint. Units: as the field says;
    input_tokens includes cached and cache-written tokens, output_tokens includes reasoning.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = read_fields(row, _ALL_USAGE_FIELDS, context)
    for name in USAGE_MEASURES.get(record.values["endpoint"], ()):
        if name not in record.values:
            raise RefusedError("missing_field", "required and empty", name)
    check_bucket(record)
    parts = ("input_uncached_tokens", "input_cached_tokens", "input_cache_write_tokens")
    if all(name in record.values for name in ("input_tokens", *parts)) and (
        sum(record.values[name] for name in parts) != record.values["input_tokens"]
    ):
        record.codes.add("token_sum_mismatch")
    return record


def read_cost(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One line of the costs API.

    Grain: one row per UTC day and all dimensions. Units: amount in dollars, negative for credits.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = read_fields(row, _ALL_COST_FIELDS, context)
    # Costs are stated in dollars alone; anything else is not this API's answer.
    if record.values["currency"] != "USD":
        reason = f"expected USD, found '{record.values['currency']}'"
        raise RefusedError("unsupported_currency", reason, "amount.currency")
    check_bucket(record, days=True)
    if record.values["amount"] < 0:
        record.codes.add("credit")
    return record


def check_bucket(record: Record, *, days: bool = False) -> None:
    """Note a bucket that is no UTC day where days are expected.

    Raises:
        RefusedError: bad_bucket where it ends before it begins.
    """
    start, end = record.values["bucket_start_at"], record.values["bucket_end_at"]
    if end <= start:
        raise RefusedError(
            "bad_bucket", f"ends at {_said(end)}, begins at {_said(start)}", "bucket"
        )
    if days and (start.time() != time() or end - start != timedelta(days=1)):
        record.codes.add("bucket_not_utc_day")


def _said(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
