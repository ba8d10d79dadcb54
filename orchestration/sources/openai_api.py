"""OpenAI's organization usage and costs: which pages to ask for, grouped by everything there is.

A dimension that is not asked for comes back as null and its rows as one sum, so the grouping is
fixed. Source: OpenAI API reference, organization usage and costs, read 2026-11-21.
"""

from __future__ import annotations

import re
from datetime import timedelta

from orchestration.sources.feeds import (
    Feed,
    PagedApi,
    TooDenseError,
    TooOldError,
    Window,
    following_by_token,
    listed,
)
from orchestration.sources.http_client import Access, Params, RequestRefusedError, bearer
from orchestration.sources.source_error import SourceError

BASE_URL = "https://api.openai.com"
# The API names no limit; a request a second is what its own console makes.
PACE = timedelta(seconds=1)
# Days on one page, at most.
DAYS = 31
# Costs of windows that begin before this second are refused when grouped by key.
KEYS_SINCE_UNIX = 1_764_979_200

_OWNERS = ("project_id", "user_id", "api_key_id")
_MODELS = (*_OWNERS, "model")
_COMPLETIONS = (*_MODELS, "batch", "service_tier", "api_source")
GROUPS: dict[str, tuple[str, ...]] = {
    "completions": _COMPLETIONS,
    "embeddings": _MODELS,
    "moderations": _MODELS,
    "images": (*_MODELS, "size", "source"),
    "audio_speeches": _MODELS,
    "audio_transcriptions": _MODELS,
    "vector_stores": ("project_id",),
    "code_interpreter_sessions": ("project_id",),
    "file_search_calls": (*_OWNERS, "vector_store_id"),
    "web_search_calls": (*_MODELS, "context_level", "api_source"),
    "decisions": _COMPLETIONS,
}
# user_id beside project_id is refused here.
COST_GROUPS = ("project_id", "line_item", "api_key_id", "api_source")
# Organizations without them answer 404.
_OPTIONAL = frozenset({"decisions"})


def paged_api(key: str, base_url: str | None) -> PagedApi:
    """The organization that an admin key belongs to."""
    access = Access(
        system="OpenAI",
        base_url=base_url or BASE_URL,
        headers=bearer(key),
        secrets=(key,),
        pace=PACE,
        key_fix="set api_key to an admin key of the organization (sk-admin-...)",
        permission_fix="give the admin key the permission to read usage (api.usage.read)",
    )
    usage = [_feed(name, "openai_usage", f"/v1/organization/usage/{name}") for name in GROUPS]
    return PagedApi(access, (*usage, _feed("costs", "openai_costs", "/v1/organization/costs")))


def _feed(name: str, kind: str, path: str) -> Feed:
    is_costs = name == "costs"
    return Feed(
        name=name,
        kind=kind,
        path=path,
        first=lambda window, limit: first_page(name, window, limit),
        following=following_by_token,
        rows=lambda page: [row for bucket in listed(page, "data") for row in _results(bucket)],
        limit=DAYS,
        least_limit=1,
        has_running_day=not is_costs,
        end_parameter="end_time",
        volatile=frozenset({"next_page"}),
        explain=explain,
        is_optional=name in _OPTIONAL,
    )


def _results(bucket: object) -> list[object]:
    return listed(bucket if isinstance(bucket, dict) else {}, "results")


def first_page(name: str, window: Window, limit: int) -> Params:
    """The parameters of a window's first page."""
    groups = COST_GROUPS if name == "costs" else GROUPS[name]
    if name == "costs" and window.start_unix < KEYS_SINCE_UNIX:
        groups = tuple(group for group in groups if group != "api_key_id")
    return (
        ("start_time", str(window.start_unix)),
        ("end_time", str(window.end_unix)),
        ("bucket_width", "1d"),
        *(("group_by[]", group) for group in groups),
        ("limit", str(limit)),
    )


_TOO_OLD = re.compile(r"too (?:old|far)|earlier than|older than|no longer available", re.IGNORECASE)
_TOO_DENSE = re.compile(r"too (?:many|large|dense|much)|reduce|limit", re.IGNORECASE)


def explain(error: RequestRefusedError, window: Window) -> SourceError | None:
    """What a refusal means, by what the API calls it."""
    if _TOO_OLD.search(error.words):
        return TooOldError(f"OpenAI has nothing as old as {window} any more")
    if _TOO_DENSE.search(error.words):
        return TooDenseError(f"OpenAI refuses {window} even day by day: too much on one page")
    return None
