"""OpenRouter's activity, credits and generations: what to ask for, and what of it is kept.

Source: OpenRouter API reference (activity, credits, generation), read 2026-11-21.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from orchestration.sources.feeds import (
    Feed,
    PagedApi,
    PageShapeError,
    TooOldError,
    Window,
    listed,
)
from orchestration.sources.http_client import Access, Params, RequestRefusedError, bearer
from orchestration.sources.log_api import clean
from orchestration.sources.source_error import SourceError

BASE_URL = "https://openrouter.ai"
PACE = timedelta(seconds=1)
# One generation a request: a night's worth must not take a day.
GENERATION_PACE = timedelta(milliseconds=100)
# Activity is kept for thirty completed days; a day that was missed is lost for ever.
ACTIVITY_DAYS = timedelta(days=30)
GENERATION_PATH = "/api/v1/generation"
GENERATION_FIELDS = (
    "id",
    "upstream_id",
    "request_id",
    "session_id",
    "api_type",
    "cache_discount",
    "cancelled",
    "created_at",
    "data_region",
    "external_user",
    "finish_reason",
    "native_finish_reason",
    "generation_time",
    "latency",
    "is_byok",
    "model",
    "tokens_prompt",
    "tokens_completion",
    "native_tokens_prompt",
    "native_tokens_completion",
    "native_tokens_completion_images",
    "native_tokens_reasoning",
    "native_tokens_cached",
    "num_fetches",
    "num_input_audio_prompt",
    "num_media_completion",
    "num_media_prompt",
    "num_search_results",
    "provider_name",
    "service_tier",
    "streamed",
    "total_cost",
    "usage",
    "upstream_inference_cost",
    "workspace_id",
    "response_cache_source_id",
)
# Of the providers that were tried, only how it went.
_RESPONSE_FIELDS = ("status", "provider_name", "is_byok", "latency")


def _access(key: str, base_url: str | None, *, pace: timedelta, kind_of_key: str) -> Access:
    return Access(
        system="OpenRouter",
        base_url=base_url or BASE_URL,
        headers=bearer(key),
        secrets=(key,),
        pace=pace,
        key_fix=f"set api_key to {kind_of_key}",
        permission_fix=f"use {kind_of_key}",
    )


def paged_api(key: str, base_url: str | None) -> PagedApi:
    """The organization that a management key belongs to."""
    activity = Feed(
        name="activity",
        kind="openrouter_activity",
        path="/api/v1/activity",
        first=lambda window, _limit: (("date", window.start.isoformat()),),
        following=lambda _page, _asked: None,
        rows=lambda page: listed(page, "data"),
        limit=1,
        least_limit=1,
        by_month=False,
        history=ACTIVITY_DAYS,
        explain=explain,
    )
    credit = Feed(
        name="credits",
        kind="openrouter_credits",
        path="/api/v1/credits",
        first=lambda _window, _limit: (),
        following=lambda _page, _asked: None,
        rows=_credits,
        limit=1,
        least_limit=1,
        has_running_day=True,
        by_month=False,
        # It tells how things stand now, and nothing of the past.
        history=timedelta(0),
    )
    access = _access(key, base_url, pace=PACE, kind_of_key="a management key of the organization")
    return PagedApi(access, (activity, credit))


def generation_access(key: str, base_url: str | None) -> Access:
    """How single generations are asked for: with the key of those who made them."""
    return _access(
        key, base_url, pace=GENERATION_PACE, kind_of_key="an API key of the account that made them"
    )


def generation_params(generation: str) -> Params:
    """The parameters that name one generation."""
    return (("id", generation),)


def _credits(page: Mapping[str, Any]) -> list[Any]:
    figures = page.get("data")
    if not isinstance(figures, dict) or "total_credits" not in figures:
        raise PageShapeError("the answer does not say total_credits")
    return [figures]


_TOO_OLD = re.compile(r"within the last|30 (?:completed )?(?:UTC )?days", re.IGNORECASE)


def explain(error: RequestRefusedError, window: Window) -> SourceError | None:
    """What a refusal means, by what the API calls it."""
    if _TOO_OLD.search(error.words):
        return TooOldError(f"OpenRouter keeps 30 days; {window} is gone and cannot be had")
    return None


def read_generation(document: Mapping[str, Any]) -> dict[str, Any]:
    """What of a generation is kept: nothing about the caller's browser, site or network.

    Raises:
        PageShapeError: it is none.
    """
    found = document.get("data")
    if not isinstance(found, dict) or not found.get("id") or "created_at" not in found:
        raise PageShapeError("the answer is no generation with id and created_at")
    kept = {
        name: found[name]
        for name in GENERATION_FIELDS
        if isinstance(found.get(name), str | int | float | Decimal)
    }
    tried = found.get("provider_responses")
    if isinstance(tried, list):
        kept["provider_responses"] = [
            {name: each[name] for name in _RESPONSE_FIELDS if name in each}
            for each in tried
            if isinstance(each, dict)
        ]
    return {name: clean(value) for name, value in kept.items()}
