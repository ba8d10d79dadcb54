"""Records of LiteLLM_SpendLogs: rows of the table, of its exports and of /spend/logs/v2.

Source: LiteLLM proxy migrations and code, release 1.109.1, read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from orchestration.core.refusals import RefusedError, with_hashed_secrets
from orchestration.core.values import INTEGER_LIMIT, read_count, read_money, read_time
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

SPEND_OUTLIER = Decimal(100_000)

TEXT = (
    "request_id",
    "call_type",
    "model",
    "model_id",
    "model_group",
    "custom_llm_provider",
    "status",
    "team_id",
    "organization_id",
    "session_id",
    "mcp_namespaced_tool_name",
    "agent_id",
    "litellm_call_id",
)
METADATA_TEXT = {
    "api_key_name": "user_api_key_alias",
    "team_name": "user_api_key_team_alias",
    "project_id": "user_api_key_project_id",
    "project_name": "user_api_key_project_alias",
    "original_model_group": "original_model_group",
    "internal_call_origin": "internal_call_origin",
    "upstream_provider": "upstream_provider",
}
# The free-form dict that operators set on keys, teams and requests, and tags `name:value`:
# the names under which the owner columns are commonly written.
OWNER_NAMES = {
    "ticket": ("ticket", "launch_or_ticket", "jira"),
    "cost_center": ("cost_center", "cost_centre", "costcenter", "cc"),
    "environment": ("environment", "env"),
    "workflow": ("workflow", "wf", "feature"),
    "customer_segment": ("customer_segment", "segment"),
    "budget_owner": ("budget_owner",),
    "tagged_project_id": ("project_id", "project"),
}
_OWNER_BY_NAME = {name: ours for ours, names in OWNER_NAMES.items() for name in names}

# Quantities of one usage object: our column, and the places it may stand in (largest wins,
# because LiteLLM mirrors several of them).
_PROMPT_DETAILS = {
    "cached_tokens": ("cached_tokens",),
    "cache_write_tokens": ("cache_creation_tokens", "cache_write_tokens"),
    "prompt_text_tokens": ("text_tokens",),
    "prompt_audio_tokens": ("audio_tokens",),
    "prompt_cached_audio_tokens": ("cached_audio_tokens",),
    "prompt_image_tokens": ("image_tokens",),
    "prompt_video_tokens": ("video_tokens",),
    "tool_use_tokens": ("tool_use_tokens",),
    "web_search_requests": ("web_search_requests",),
    "maps_grounding_requests": ("google_maps_grounding_requests",),
    "character_count": ("character_count",),
    "prompt_image_count": ("image_count",),
    "query_count": ("query_count",),
}
_CACHE_LIFETIMES = {
    "cache_write_5m_tokens": "ephemeral_5m_input_tokens",
    "cache_write_30m_tokens": "ephemeral_30m_input_tokens",
    "cache_write_1h_tokens": "ephemeral_1h_input_tokens",
    "cache_write_12h_tokens": "ephemeral_12h_input_tokens",
}
_COMPLETION_DETAILS = {
    "reasoning_tokens": ("reasoning_tokens",),
    "completion_text_tokens": ("text_tokens",),
    "completion_audio_tokens": ("audio_tokens",),
    "completion_image_tokens": ("image_tokens",),
    "output_image_count": ("image_count",),
}
_FLAT = {
    "usage_prompt_tokens": ("prompt_tokens",),
    "usage_completion_tokens": ("completion_tokens",),
    "cached_tokens": ("cache_read_input_tokens",),
    "cache_write_tokens": ("cache_creation_input_tokens",),
    "output_image_count": ("output_image_count",),
    "ocr_pages": ("pages_processed",),
}
_SECONDS = {
    "prompt_audio_seconds": ("audio_length_seconds", "audio_duration_seconds"),
    "prompt_video_seconds": ("video_length_seconds",),
    "output_audio_seconds": ("output_audio_seconds",),
    "output_video_seconds": ("output_video_seconds", "duration_seconds"),
}
_TOOLS = {"web_search_requests": ("web_search_requests",)}


def _by_their_name(names: Mapping[str, tuple[str, ...] | str]) -> dict[str, str]:
    """Our column by the source's name."""
    return {
        theirs: ours
        for ours, several in names.items()
        for theirs in (several if isinstance(several, tuple) else (several,))
    }


FLAT_NAMES = _by_their_name(_FLAT)
PROMPT_NAMES = _by_their_name(_PROMPT_DETAILS)
LIFETIME_NAMES = _by_their_name(_CACHE_LIFETIMES)
COMPLETION_NAMES = _by_their_name(_COMPLETION_DETAILS)
TOOL_NAMES = _by_their_name(_TOOLS)
SECONDS_NAMES = _by_their_name(_SECONDS)
_COUNT_COLUMNS = tuple(
    dict.fromkeys([*_FLAT, *_PROMPT_DETAILS, *_CACHE_LIFETIMES, *_COMPLETION_DETAILS])
)
USAGE_COLUMNS = (
    *(Column(name, "bigint") for name in _COUNT_COLUMNS),
    *(Column(name, "decimal(20, 6)") for name in _SECONDS),
)

SPEND_LOGS = RawTable(
    name="litellm__spend_logs",
    columns=(
        Column("request_id", "varchar"),
        Column("started_at", "timestamp"),
        Column("api_key_id", "varchar"),
        Column("ended_at", "timestamp"),
        Column("completion_started_at", "timestamp"),
        Column("created_at", "timestamp", is_content=False),
        Column("source_version_at", "timestamp"),
        Column("observed_at", "timestamp", is_content=False),
        *(Column(name, "varchar") for name in TEXT if name != "request_id"),
        Column("api_base", "varchar"),
        Column("user_id", "varchar"),
        Column("customer_id", "varchar"),
        Column("cache_hit", "boolean"),
        Column("request_duration_ms", "bigint"),
        Column("spend", "decimal(38, 18)"),
        Column("prompt_tokens", "bigint"),
        Column("completion_tokens", "bigint"),
        Column("total_tokens", "bigint"),
        Column("request_tags", "varchar"),
        Column("client_ip", "varchar"),
        Column("user_agent", "varchar"),
        *(Column(name, "varchar") for name in METADATA_TEXT),
        *(Column(name, "varchar") for name in OWNER_NAMES),
        Column("error_code", "varchar"),
        Column("error_class", "varchar"),
        Column("attempted_retries", "bigint"),
        Column("attempted_fallbacks", "bigint"),
        Column("is_billed_retry_attempt", "boolean"),
        Column("is_silent_experiment", "boolean"),
        Column("used_client_oauth_token", "boolean"),
        Column("batch_successful_requests", "bigint"),
        Column("batch_failed_requests", "bigint"),
        Column("billed_service_tier", "varchar"),
        Column("usage_service_tier", "varchar"),
        Column("usage_speed", "varchar"),
        Column("region", "varchar"),
        Column("has_usage", "boolean"),
        Column("batch_model_count", "bigint"),
        *USAGE_COLUMNS,
        # The database's own hash of what was landed: what an extractor need not land again.
        Column("source_hash", "varchar", is_content=False),
    ),
    key=("request_id", "started_at", "api_key_id"),
    event_at="started_at",
    contested="litellm__contested_requests",
)
BATCH_USAGE = RawTable(
    name="litellm__batch_usage",
    columns=(
        Column("request_id", "varchar"),
        Column("started_at", "timestamp"),
        Column("api_key_id", "varchar"),
        Column("batch_model", "varchar"),
        *USAGE_COLUMNS,
    ),
    key=("request_id", "started_at", "api_key_id", "batch_model"),
    event_at="started_at",
)

REQUIRED = ("request_id", "spend", "startTime")
# Columns of type JSON, which CSV and Parquet hold as text.
JSON_FIELDS = ("metadata", "request_tags")
TIME_FIELDS = (
    "startTime",
    "endTime",
    "completionStartTime",
    "created_at",
    "updated_at",
    "observed_at",
)
CONTENT_COLUMNS = ("messages", "response", "proxy_server_request")
KNOWN = frozenset(
    {
        *TEXT,
        *CONTENT_COLUMNS,
        "api_key",
        "api_base",
        "billing_agent_id",
        "cache_hit",
        "cache_key",
        "completionStartTime",
        "completion_tokens",
        "created_at",
        "currency",
        "endTime",
        "end_user",
        "metadata",
        "observed_at",
        "prompt_tokens",
        "request_duration_ms",
        "request_tags",
        "requester_ip_address",
        "source_hash",
        "spend",
        "startTime",
        "total_tokens",
        "updated_at",
        "user",
    }
)
# Sub-keys of metadata that hold no content, whether or not a column is taken from them.
KNOWN_METADATA = frozenset(
    {
        *METADATA_TEXT.values(),
        "additional_usage_values",
        "actor_agent_id",
        "agent_execution_mode",
        "applied_guardrails",
        "attempted_fallbacks",
        "attempted_retries",
        "autorouter_baseline_observation",
        "autorouter_savings",
        "autorouter_savings_estimate",
        "azure_spillover",
        "batch_failed_requests",
        "batch_models",
        "batch_successful_requests",
        "billed_retry_attempt",
        "billing_agent_id",
        "cold_storage_object_key",
        "compression_savings",
        "cost_breakdown",
        "error_information",
        "eval_information",
        "is_silent_experiment",
        "kubernetes_pod_routing",
        "litellm_call_id",
        "litellm_gateway_injected_cache",
        "litellm_overhead_time_ms",
        "litellm_roi_estimator",
        "max_retries",
        "mcp_tool_call_metadata",
        "model_map_information",
        "requester_ip_address",
        "router_metadata",
        "routing_decision",
        "spend_logs_metadata",
        "status",
        "target_agent_id",
        "usage_object",
        "used_client_oauth_token",
        "user_agent",
        "user_api_key",
        "user_api_key_org_id",
        "user_api_key_team_id",
        "user_api_key_user_email",
        "user_api_key_user_id",
        "verified_human_user_id",
    }
)
# Reading back what an earlier call cost or returned: nothing new is bought (LiteLLM issue 17814).
NON_BILLABLE_CALL_TYPES = frozenset(
    {
        "get_responses",
        "aget_responses",
        "delete_responses",
        "adelete_responses",
        "cancel_responses",
        "acancel_responses",
        "list_input_items",
        "alist_input_items",
    }
)


def read_spend_log(row: Mapping[str, Any], context: RecordContext) -> Record:
    """One billable attempt as LiteLLM logged it.

    Grain: one row of LiteLLM_SpendLogs. Units: spend in USD, tokens, seconds; times in UTC.
    JSON_FIELDS are expected as decoded values; one that is still text could not be decoded.

    Raises:
        RefusedError: a row code of the closed list.
    """
    record = Record(values={})
    _read_identity(row, record, context)
    _read_texts(row, record, context)
    _read_money(row, record)
    _read_tokens(row, record)
    metadata = read_metadata(row, record)
    read_tags(row, record, context)
    _read_owners(metadata, record, context)
    _read_attempt(metadata, record, context)
    _read_usage(metadata, record)
    _flag(row, metadata, record, context)
    return record


def _read_identity(row: Mapping[str, Any], record: Record, context: RecordContext) -> None:
    values = record.values
    request_id = read_text(row, "request_id", context)
    if request_id is None or request_id.strip() in ("", "None", "null"):
        raise RefusedError(
            "missing_request_id", "a row without an id cannot be told apart", "request_id"
        )
    # The id may be set by the caller (header x-litellm-call-id), to a key by mistake.
    values["request_id"] = with_hashed_secrets(request_id)
    if values["request_id"] != request_id:
        record.codes.add("raw_key_hashed")
    values["started_at"], naive = read_time(row.get("startTime"), "startTime")
    if check_not_future(values["started_at"], "startTime", context):
        record.codes.add("clock_skew")
    for column, name in (
        ("ended_at", "endTime"),
        ("completion_started_at", "completionStartTime"),
        ("created_at", "created_at"),
        ("source_version_at", "updated_at"),
        ("observed_at", "observed_at"),
    ):
        value = row.get(name)
        if value is not None and value != "":
            values[column], also_naive = read_time(value, name)
            naive = naive or also_naive
    if naive:
        record.codes.add("naive_timestamp")
    values["api_key_id"], was_raw = read_key_id(read_text(row, "api_key", context))
    if was_raw:
        record.codes.add("raw_key_hashed")
    values["source_hash"] = read_text(row, "source_hash", context)


def _read_texts(row: Mapping[str, Any], record: Record, context: RecordContext) -> None:
    values = record.values
    for name in TEXT[1:]:
        values[name] = clean_text(read_text(row, name, context))
    values["customer_id"] = clean_text(read_text(row, "end_user", context))
    if context.keep_user_id:
        values["user_id"] = clean_text(read_text(row, "user", context))
    if context.keep_client_ip:
        values["client_ip"] = clean_text(read_text(row, "requester_ip_address", context))
    values["cache_hit"] = _read_flag(row.get("cache_hit"))
    duration = row.get("request_duration_ms")
    if duration is not None and duration != "":
        values["request_duration_ms"] = read_count(duration, "request_duration_ms")
    base = read_text(row, "api_base", context)
    values["api_base"], stripped = without_credentials(base)
    if stripped:
        record.codes.add("url_secret_stripped")
    currency = row.get("currency")
    if currency not in (None, "") and str(currency).upper() != "USD":
        raise RefusedError("unsupported_currency", "LiteLLM spend is in USD", "currency")


def _read_flag(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(str(value).strip().lower())


@lru_cache(maxsize=1024)
def without_credentials(url: str | None) -> tuple[str | None, bool]:
    """The URL without user, password, query and fragment, and whether that changed it."""
    if url is None:
        return None, False
    try:
        parts = urlsplit(url)
    except ValueError:
        return None, True
    if not parts.netloc and "@" in url:
        # Without its scheme, a user name and password look like part of a path.
        return None, True
    bare = parts.netloc.rpartition("@")[2]
    clean = clean_text(urlunsplit((parts.scheme, bare, parts.path, "", "")))
    return clean, clean != url


def _read_money(row: Mapping[str, Any], record: Record) -> None:
    value = row.get("spend")
    if value is None or value == "":
        if row.get("status") != "failure":
            raise RefusedError("missing_spend", "a successful row states its spend", "spend")
        record.codes.add("null_spend_on_failure")
        return
    spend, lost = read_money(value, "spend")
    record.values["spend"] = spend
    if lost:
        record.codes.add("precision_rounded")
    if spend > SPEND_OUTLIER:
        record.codes.add("spend_outlier")


def _read_tokens(row: Mapping[str, Any], record: Record) -> None:
    values = record.values
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        value = row.get(name)
        if value is not None and value != "":
            values[name] = read_count(value, name)
    parts = (values.get("prompt_tokens"), values.get("completion_tokens"))
    total = values.get("total_tokens")
    if total is not None and None not in parts and total != sum(p or 0 for p in parts):
        record.codes.add("token_sum_mismatch")


def read_metadata(row: Mapping[str, Any], record: Record) -> Mapping[str, Any]:
    """The metadata object of a row, empty where it is none."""
    metadata = row.get("metadata")
    if isinstance(metadata, dict):
        return metadata
    if metadata is not None and metadata != "":
        record.codes.add("metadata_unparsed")
    return {}


def read_tags(row: Mapping[str, Any], record: Record, context: RecordContext) -> None:
    """Take over the tags of a row, and the owner columns that they name.

    Raises:
        RefusedError: field_too_long.
    """
    tags = row.get("request_tags")
    if tags is None or tags == "":
        return
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        record.codes.add("tags_unparsed")
        return
    # LiteLLM adds the caller's user agent as a tag of its own.
    kept = sorted({tag for tag in tags if tag and not tag.startswith("User-Agent:")})
    if any(len(tag) > context.field_characters for tag in kept):
        reason = f"longer than {context.field_characters} characters"
        raise RefusedError("field_too_long", reason, "request_tags")
    record.values["request_tags"] = clean_text(",".join(kept)) or None
    for tag in kept:
        name, colon, text = tag.partition(":")
        ours = owner_column(name)
        if colon and ours is not None:
            record.values.setdefault(ours, clean_text(text.strip()) or None)


def owner_column(name: str) -> str | None:
    """The owner column that goes by a name in tags or free metadata."""
    return _OWNER_BY_NAME.get(name.strip().lower().replace("-", "_"))


def _read_owners(metadata: Mapping[str, Any], record: Record, context: RecordContext) -> None:
    values = record.values
    for ours, theirs in METADATA_TEXT.items():
        values[ours] = _scalar(metadata, theirs, context)
    values["team_id"] = values.get("team_id") or _scalar(metadata, "user_api_key_team_id", context)
    values["organization_id"] = values.get("organization_id") or _scalar(
        metadata, "user_api_key_org_id", context
    )
    if context.keep_user_id:
        values["user_id"] = values.get("user_id") or _scalar(
            metadata, "user_api_key_user_id", context
        )
    if context.keep_user_agent:
        values["user_agent"] = _scalar(metadata, "user_agent", context)
    named = metadata.get("spend_logs_metadata")
    if isinstance(named, dict):
        for name in named:
            ours = owner_column(name)
            text = None if ours is None else _scalar(named, name, context)
            if ours is not None and text is not None:
                values[ours] = text


def _scalar(metadata: Mapping[str, Any], name: str, context: RecordContext) -> str | None:
    """A text of metadata without credentials; anything else than a scalar counts as absent."""
    value = metadata.get(name)
    if value is None or value == "" or isinstance(value, (dict, list, bool)):
        return None
    text = str(value)
    if len(text) > context.field_characters:
        reason = f"longer than {context.field_characters} characters"
        raise RefusedError("field_too_long", reason, f"metadata.{name}")
    return clean_text(text)


def _read_attempt(metadata: Mapping[str, Any], record: Record, context: RecordContext) -> None:
    values = record.values
    for name in (
        "attempted_retries",
        "attempted_fallbacks",
        "batch_successful_requests",
        "batch_failed_requests",
    ):
        values[name] = _whole(metadata.get(name))
    values["is_billed_retry_attempt"] = metadata.get("billed_retry_attempt") is True
    values["is_silent_experiment"] = metadata.get("is_silent_experiment") is True
    values["used_client_oauth_token"] = metadata.get("used_client_oauth_token") is True
    if values.get("status") is None:
        values["status"] = _scalar(metadata, "status", context)
    error = metadata.get("error_information")
    if isinstance(error, dict):
        values["error_code"] = _scalar(error, "error_code", context)
        values["error_class"] = _scalar(error, "error_class", context)
    breakdown = metadata.get("cost_breakdown")
    if isinstance(breakdown, dict):
        values["billed_service_tier"] = _scalar(breakdown, "service_tier", context)
        values["region"] = _scalar(breakdown, "data_residency", context) or _scalar(
            breakdown, "vertex_location", context
        )


def _read_usage(metadata: Mapping[str, Any], record: Record) -> None:
    usage = metadata.get("usage_object")
    if not isinstance(usage, dict):
        usage = metadata.get("additional_usage_values")
    if not isinstance(usage, dict) or not usage:
        record.values["has_usage"] = False
        return
    values = record.values
    values["has_usage"] = True
    values.update(read_quantities(usage))
    for ours, theirs in (
        ("usage_service_tier", "service_tier"),
        ("usage_speed", "speed"),
        ("region", "inference_geo"),
    ):
        text = usage.get(theirs)
        if isinstance(text, str) and text and not values.get(ours):
            values[ours] = clean_text(text[:64])
    by_model = usage.get("batch_usage_by_model")
    if isinstance(by_model, dict) and by_model:
        _read_batch(by_model, record)


def _read_batch(by_model: Mapping[str, Any], record: Record) -> None:
    identity = {
        name: record.values.get(name) for name in ("request_id", "started_at", "api_key_id")
    }
    parts = [
        {**identity, "batch_model": clean_text(model[:256]), **read_quantities(usage)}
        for model, usage in sorted(by_model.items())
        if isinstance(usage, dict)
    ]
    record.values["batch_model_count"] = len(parts)
    if parts:
        record.children[BATCH_USAGE.name] = parts


def read_quantities(usage: Mapping[str, Any]) -> dict[str, Any]:
    """The allow-listed quantities of one usage object, as the source counts them.

    Units: tokens, counts, seconds. A quantity the object does not state is absent.
    """
    found: dict[str, Any] = {}
    _collect(found, usage, FLAT_NAMES)
    _collect_seconds(found, usage)
    prompt = usage.get("prompt_tokens_details")
    if isinstance(prompt, dict):
        _collect(found, prompt, PROMPT_NAMES)
        _collect_seconds(found, prompt)
        lifetimes = prompt.get("cache_creation_token_details")
        if isinstance(lifetimes, dict):
            _collect(found, lifetimes, LIFETIME_NAMES)
    completion = usage.get("completion_tokens_details")
    if isinstance(completion, dict):
        _collect(found, completion, COMPLETION_NAMES)
    tools = usage.get("server_tool_use")
    if isinstance(tools, dict):
        _collect(found, tools, TOOL_NAMES)
    return found


def _collect(found: dict[str, Any], holder: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Take over the counts of one object; of mirrored ones the largest stays."""
    for theirs, value in holder.items():
        ours = names.get(theirs)
        if ours is not None:
            count = _whole(value)
            if count is not None and count > found.get(ours, -1):
                found[ours] = count


def _collect_seconds(found: dict[str, Any], holder: Mapping[str, Any]) -> None:
    for theirs, value in holder.items():
        ours = SECONDS_NAMES.get(theirs)
        if ours is None or isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            continue
        seconds = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        if seconds.is_finite() and 0 <= seconds < 10**8:
            found[ours] = max(round(seconds, 6), found.get(ours, Decimal(0)))


def _whole(value: Any) -> int | None:
    """A whole number from 0 to 2^63-1; anything else counts as absent."""
    if type(value) is int:
        return value if 0 <= value <= INTEGER_LIMIT else None
    if isinstance(value, float):
        value = Decimal(repr(value))
    # Compared before it is converted: 1e999999999 has a billion digits.
    if isinstance(value, Decimal) and value.is_finite() and 0 <= value <= INTEGER_LIMIT:
        return int(value) if value == int(value) else None
    return None


def _flag(
    row: Mapping[str, Any], metadata: Mapping[str, Any], record: Record, context: RecordContext
) -> None:
    codes, values = record.codes, record.values
    if not row.keys() <= KNOWN:
        codes.add("schema_drift")
    if holds_content(row, metadata):
        codes.add("content_dropped")
    ended_at = values.get("ended_at")
    if ended_at is not None and ended_at < values["started_at"]:
        codes.add("end_before_start")
    if values.get("call_type") in NON_BILLABLE_CALL_TYPES:
        codes.add("non_billable_call_type")
    codes.update(_usage_against_cost(values))
    if context.is_closed is not None and context.is_closed(values):
        codes.add("late_in_closed_period")


def _usage_against_cost(values: Mapping[str, Any]) -> set[str]:
    codes: set[str] = set()
    succeeded = values.get("status") in (None, "success") and not values.get("cache_hit")
    has_tokens = bool(values.get("prompt_tokens") or values.get("completion_tokens"))
    has_quantity = has_tokens or any(values.get(column.name) for column in USAGE_COLUMNS)
    spend = values.get("spend")
    model = values.get("model")
    if spend and not has_quantity:
        codes.add("cost_without_usage")
    if has_tokens and spend is not None and not spend and succeeded:
        codes.add("usage_without_cost")
    if model == "unknown-model" or (
        model is None and has_tokens and not values.get("batch_model_count")
    ):
        codes.add("unknown_model")
    return codes


def holds_content(row: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether a row carries prompts, completions or anything of which we cannot tell."""
    for name in CONTENT_COLUMNS:
        value = row.get(name)
        if value and value not in ("{}", "[]"):
            return True
    return any(
        metadata[name] and isinstance(metadata[name], (dict, list, str))
        for name in metadata.keys() - KNOWN_METADATA
    )
