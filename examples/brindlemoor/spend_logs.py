"""A call as a row of LiteLLM_SpendLogs, in the exact shape of the 1.109 release."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal

from brindlemoor.calls import Call, total
from brindlemoor.company import API_BASES, ORGANIZATION, PROJECTS, TEAMS, Key
from brindlemoor.prices import ZERO, Row, prices_at
from brindlemoor.usage import Usage

AGENT_KEYS = (
    "actor_agent_id",
    "target_agent_id",
    "billing_agent_id",
    "agent_execution_mode",
    "verified_human_user_id",
)
SAVINGS_KEYS = (
    "compression_savings",
    "litellm_gateway_injected_cache",
    "autorouter_savings",
    "autorouter_savings_estimate",
    "autorouter_baseline_observation",
    "router_metadata",
    "azure_spillover",
    "used_client_oauth_token",
    "kubernetes_pod_routing",
)
BREAKDOWN = {
    "input_cost": ("in", "read", "write", "write_1h", "audio_in", "image_in", "character", "query"),
    "output_cost": ("out", "reasoning", "audio_out", "second"),
    "tool_usage_cost": ("search",),
    "cache_read_cost": ("read",),
    "cache_creation_cost": ("write", "write_1h"),
    "reasoning_cost": ("reasoning",),
}
OPTIONAL = ("cache_read_cost", "cache_creation_cost", "reasoning_cost")
NO_MARGIN = dict.fromkeys(
    (
        "discount_percent",
        "discount_amount",
        "margin_percent",
        "margin_fixed_amount",
        "margin_total_amount",
    ),
    ZERO,
)
STREAMED_OUTPUT: Row = dict.fromkeys(
    ("accepted_prediction_tokens", "rejected_prediction_tokens", "text_tokens", "image_tokens")
)
STREAMED_INPUT: Row = dict.fromkeys(("image_tokens", "text_tokens", "initial_prompt_tokens"))


def naive(at: datetime) -> str:
    """A time as LiteLLM writes it: UTC without saying so, with milliseconds."""
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds")


def spend_log(call: Call) -> Row:
    """The call as a row of LiteLLM_SpendLogs."""
    usage = call.usage or Usage()
    return {
        "request_id": call.request_id,
        "call_type": call.call_type,
        "api_key": call.key.api_key if call.key else "",
        "cache_hit": cache_hit(call),
        "startTime": naive(call.started_at),
        "endTime": naive(call.ended_at),
        "completionStartTime": naive(call.first_token_at or call.ended_at),
        "model": logged_model(call),
        "user": call.key.user if call.key else "",
        "team_id": call.key.team if call.key else "",
        "organization_id": ORGANIZATION if call.key else "",
        "metadata": metadata(call),
        "cache_key": call.cache_key,
        "spend": call.spend,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "request_tags": list(call.tags),
        "end_user": call.end_user,
        "api_base": "" if failed_at_once(call) else API_BASES[call.model.provider],
        "model_group": call.model.group,
        "model_id": "" if failed_at_once(call) else call.model.deployment,
        "mcp_namespaced_tool_name": None,
        "agent_id": None,
        "billing_agent_id": None,
        "requester_ip_address": client_address(call),
        "custom_llm_provider": call.model.provider,
        "messages": {},
        "response": {},
        "proxy_server_request": {},
        "session_id": call.session_id,
        "request_duration_ms": call.milliseconds,
        "status": "failure" if call.error else "success",
        "litellm_call_id": call.call_id,
    }


def failed_at_once(call: Call) -> bool:
    """Whether the call failed before any output, so that it cost nothing."""
    return call.error is not None and not call.charges


def cache_hit(call: Call) -> str:
    """LiteLLM's text for it: `None` unless the call was streamed, failed or was a hit."""
    if call.is_replay:
        return "True"
    return "False" if call.first_token_at or call.error else "None"


def logged_model(call: Call) -> str:
    """The resolved model; a call that failed at once keeps the group it asked for."""
    return call.model.group if failed_at_once(call) else call.model.name


def client_address(call: Call) -> str | None:
    """An address of the company's own network."""
    return None if call.error or not call.key else f"10.31.0.{int(call.cache_key[:2], 16)}"


def metadata(call: Call) -> Row:
    """The keys of LiteLLM 1.109's spend-log metadata, in its order."""
    usage, answered = usage_object(call), not failed_at_once(call) and call.key and not call.batch
    return {
        **dict.fromkeys(AGENT_KEYS),
        "additional_usage_values": additional_usage(call, usage or {}),
        **owner_metadata(call.key),
        "spend_logs_metadata": call.labels,
        "requester_ip_address": client_address(call),
        "user_agent": None,
        "litellm_call_id": call.call_id,
        "applied_guardrails": None if failed_at_once(call) else [],
        "mcp_tool_call_metadata": None,
        "vector_store_request_metadata": None,
        "routing_decision": None,
        "internal_call_origin": "autorouter_classifier" if call.is_internal else None,
        "guardrail_information": None,
        "eval_information": None,
        "status": "failure" if call.error else None,
        "proxy_server_request": None,
        "batch_models": [model for model, _ in call.batch] or None,
        "batch_successful_requests": len(call.batch) or None,
        "batch_failed_requests": 0 if call.batch else None,
        "error_information": error_information(call),
        "usage_object": usage,
        "model_map_information": model_map(call),
        "cold_storage_object_key": None,
        "litellm_overhead_time_ms": overhead(call) if answered else None,
        "attempted_retries": call.retries if answered else None,
        "max_retries": 2 if answered else None,
        "attempted_fallbacks": int(bool(call.asked)) if answered else None,
        "original_model_group": (call.asked or call.model.group) if answered else None,
        "cost_breakdown": cost_breakdown(call),
        **dict.fromkeys(SAVINGS_KEYS),
        "litellm_roi_estimator": False,
        "billed_retry_attempt": call.is_attempt,
        "user_api_key_user_email": email(call.key) if call.key else None,
    }


def owner_metadata(key: Key | None) -> Row:
    """The owner as it stood when the call was made."""
    project = TEAMS[key.team][2] if key else None
    return {
        "user_api_key": key.api_key if key else None,
        "user_api_key_alias": key.alias if key else None,
        "user_api_key_team_id": key.team if key else None,
        "user_api_key_project_id": project,
        "user_api_key_project_alias": PROJECTS[project] if project else None,
        "user_api_key_org_id": ORGANIZATION if key else None,
        "user_api_key_user_id": key.user if key else None,
        "user_api_key_team_alias": TEAMS[key.team][0] if key else None,
    }


def email(key: Key) -> str:
    """The address of the key's user."""
    return f"{key.user.removeprefix('user-')}@brindlemoor.example"


def overhead(call: Call) -> Decimal:
    """Milliseconds the gateway itself took."""
    return Decimal(int(call.cache_key[2:5], 16) + 100).scaleb(-2)


def error_information(call: Call) -> Row | None:
    """Code, class and a short message; no traceback."""
    if call.error is None:
        return None
    code, name, message, normalized = call.error
    return {
        "error_code": code,
        "error_class": name,
        "llm_provider": call.model.provider,
        "error_message": f"litellm.{name}: {message}",
        "error_provider_request_id": None,
        "error_rate_limit_category": "vendor_rate_limit" if code == "429" else None,
        "error_rate_limit_type": None,
        "normalized_error": normalized,
    }


def model_map(call: Call) -> Row | None:
    """The price entry LiteLLM used, abridged; a null value means that it had none."""
    if failed_at_once(call):
        return None
    entry = prices_at(call.started_at).get(call.model.price_key)
    wanted = ("litellm_provider", "mode", "input_cost_per_token", "output_cost_per_token")
    value = {name: entry[name] for name in wanted if name in entry} if entry else None
    return {
        "model_map_key": call.model.name,
        "model_map_value": {"key": call.model.price_key, **value} if value else None,
    }


def cost_breakdown(call: Call) -> Row | None:
    """How the spend came about. LiteLLM's input_cost contains the cache costs shown beside it."""
    unpriced = not call.charges and not call.is_replay
    if unpriced or call.call_type.startswith("aimage"):
        return None
    parts = {name: sum_of(call, units) for name, units in BREAKDOWN.items()}
    tier = call.usage.tier if call.usage and not call.batch else ""
    extras = {name: amount for name, amount in parts.items() if name in OPTIONAL and amount}
    priced = {
        "total_cost": call.spend,
        "service_tier": tier or None,
        "data_residency": None,
        "vertex_location": None,
        **{name: amount for name, amount in parts.items() if name not in OPTIONAL},
        **extras,
    }
    return priced if call.batch else priced | {"original_cost": call.spend} | NO_MARGIN


def sum_of(call: Call, units: Iterable[str]) -> Decimal:
    """USD of these units together."""
    return sum((call.charges.get(unit, ZERO) for unit in units), ZERO)


def usage_object(call: Call) -> Row | None:
    """LiteLLM's normalised usage; absent where the call failed at once or nothing was measured."""
    if call.call_type == "afile_content":
        return {}
    if call.usage is None or failed_at_once(call):
        return None
    totals = usage_totals(call.usage)
    if call.batch:
        details: Row = {"completion_tokens_details": batch_output(call.usage)}
        return totals | details | {"prompt_tokens_details": None} | batch_details(call)
    return {
        **totals,
        "completion_tokens_details": output_details(call, call.usage),
        "prompt_tokens_details": input_details(call, call.usage),
        **other_usage(call, call.usage),
    }


def usage_totals(usage: Usage) -> Row:
    """The three totals."""
    return {
        "completion_tokens": usage.completion,
        "prompt_tokens": usage.prompt,
        "total_tokens": usage.prompt + usage.completion,
    }


def batch_output(usage: Usage) -> Row:
    """Output parts of a batch or of one of its requests."""
    text = usage.completion - usage.reasoning
    return {"audio_tokens": None, "reasoning_tokens": usage.reasoning, "text_tokens": text}


def batch_details(call: Call) -> Row:
    """The usage of a batch by model and by request."""
    models = dict.fromkeys(model for model, _ in call.batch)
    by_model = {
        model: usage_totals(part)
        | {"completion_tokens_details": batch_output(part)}
        | {"prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0}}
        for model in models
        for part in [total(item for item in call.batch if item[0] == model)]
    }
    return {
        "batch_usage_by_model": by_model,
        "batch_usage_by_request": [
            {
                "model": model,
                "usage": usage_totals(part) | {"completion_tokens_details": batch_output(part)},
            }
            for model, part in call.batch
        ],
        "batch_unknown_usage_requests": 0,
    }


def output_details(call: Call, usage: Usage) -> Row | None:
    """What the output consists of, in the words of the provider's adapter."""
    if call.call_type in COUNTED_OTHERWISE:
        return None
    text = usage.completion - usage.reasoning - usage.audio_out
    if call.model.provider in ("anthropic", "bedrock", "gemini"):
        return {"reasoning_tokens": usage.reasoning, "text_tokens": text}
    details: Row = {"audio_tokens": usage.audio_out, "reasoning_tokens": usage.reasoning}
    return STREAMED_OUTPUT | details if call.first_token_at else details


def input_details(call: Call, usage: Usage) -> Row | None:
    """What the input consists of, in the words of the provider's adapter."""
    if call.call_type in COUNTED_OTHERWISE:
        return COUNTED_OTHERWISE[call.call_type](usage)
    if call.model.provider == "gemini":
        return {"cached_tokens": usage.cached, "text_tokens": usage.uncached}
    if call.model.provider in ("anthropic", "bedrock"):
        return claude_input(usage)
    details: Row = {"audio_tokens": usage.audio_in, "cached_tokens": usage.cached}
    if usage.searches:
        details["web_search_requests"] = usage.searches
    return STREAMED_INPUT | details if call.first_token_at else details


def image_input(usage: Usage) -> Row:
    """Text and picture tokens of a picture's prompt."""
    text = usage.prompt - usage.image_in
    return {"cached_tokens": 0, "image_tokens": usage.image_in, "text_tokens": text}


# Calls that are not counted in output tokens, and the input details they do have.
COUNTED_OTHERWISE: dict[str, Callable[[Usage], Row | None]] = {
    "aembedding": lambda _: None,
    "aimage_generation": image_input,
    "aimage_edit": image_input,
    "aspeech": lambda usage: {"character_count": usage.characters},
    "atranscription": lambda usage: {"audio_length_seconds": usage.seconds},
    "arerank": lambda usage: {"query_count": usage.queries},
}


def claude_input(usage: Usage) -> Row:
    """Claude's input parts; cache writes stand twice, under two names."""
    details: Row = {
        "cache_write_tokens": usage.writes,
        "cached_tokens": usage.cached,
        "text_tokens": usage.uncached,
        "cache_creation_tokens": usage.writes,
    }
    if usage.write_5m or usage.write_1h:
        details["cache_creation_token_details"] = {
            "ephemeral_5m_input_tokens": usage.write_5m,
            "ephemeral_1h_input_tokens": usage.write_1h,
        }
    return details


def other_usage(call: Call, usage: Usage) -> Row:
    """What stands beside the details: Claude's flat counts, the tier, pictures, streamed cost."""
    found: Row = {}
    if call.model.provider in ("anthropic", "bedrock") and not usage.images:
        found["cache_creation_input_tokens"] = usage.writes
        found["cache_read_input_tokens"] = usage.cached
    if call.model.provider == "anthropic":
        found |= {"inference_geo": None, "speed": None, "service_tier": "standard"}
        if usage.searches:
            found["server_tool_use"] = {"web_search_requests": usage.searches}
    if usage.images:
        found["output_image_count"] = usage.images
    if usage.tier:
        found["service_tier"] = usage.tier
    if call.first_token_at and call.model.provider == "openai":
        found["cost"] = call.spend
    return found


def additional_usage(call: Call, usage: Row) -> Row:
    """The usage object without its three totals, plus the cached tokens as a flat count."""
    totals = usage_totals(Usage())
    rest = {name: value for name, value in usage.items() if name not in totals}
    cached = call.usage.cached if call.usage and usage else 0
    return rest | ({"cache_read_input_tokens": cached} if cached else {})
